"""The leaderboard: ranges of ranks, best cells only where that is sure, averages only of what is complete."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from statsmodels.regression.linear_model import OLS

from leaderboards import compare, pairs, ranking, significance
from leaderboards.entrants import Column
from leaderboards.ranking import Matrix
from leaderboards.records import POINTS, Score
from leaderboards.store import Store
from tests.leaderboards.made import METRIC, drawn, finish

T, U = (Column(task, "test", "exact_match", "strip-lower") for task in ("t", "u"))


def run(store: Store, model: str, task: str, share: float, seed: int, **facts: object) -> None:
    finish(
        store,
        f"{model}{task}{seed}",
        {METRIC: drawn(seed, 300, share)},
        model=model,
        model_digest=f"digest of {model}",
        task=task,
        **facts,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two models that are level, and a better one; all on two tasks."""
    made = Store(tmp_path)
    for number, (model, share) in enumerate([("good", 0.9), ("fair", 0.5), ("even", 0.5)]):
        for task in ("t", "u"):
            run(made, model, task, share, 10 * number + ord(task))
    return made


def ranks(found: Matrix, column: Column) -> dict[str, tuple[int, int] | None]:
    return {row.entrant.model: row.cells[column].ranks for row in found.rows if column in row.cells}


def test_ranks_are_ranges_where_models_cannot_be_told_apart(store: Store) -> None:
    found = ranking.matrix(store)
    assert list(found.columns) == [T, U]
    assert ranks(found, T) == {"good": (1, 1), "fair": (2, 3), "even": (2, 3)}
    assert found.rows[0].entrant.model == "good"
    assert [row.average.ranks for row in found.rows if row.average] == [(1, 1), (2, 3), (2, 3)]
    assert found.tests == 6
    assert {cell.is_best for cell in found.rows[1].cells.values()} == {False}
    assert found.rows[0].cells[T].is_best and found.rows[0].cells[T].is_level


def test_a_column_without_a_sure_best_has_no_best_cell(store: Store) -> None:
    found = ranking.matrix(store, [run for run in store.runs() if run.model != "good"])
    cells = [row.cells[T] for row in found.rows]
    assert [cell.ranks for cell in cells] == [(1, 2), (1, 2)]
    assert not any(cell.is_best for cell in cells) and all(cell.is_level for cell in cells)


def test_a_correction_over_the_table_makes_a_single_small_difference_unsure(tmp_path: Path) -> None:
    store = Store(tmp_path)
    ones = [1.0] * 16 + [0.0] * 84
    some = [0.0] * 6 + [1.0] * 10 + [0.0] * 84  # six questions less: p = 0.031 by itself
    finish(store, "aaaa", {METRIC: ones}, model="a", model_digest="a")
    finish(store, "bbbb", {METRIC: some}, model="b", model_digest="b")
    assert ranks(ranking.matrix(store), T) == {"a": (1, 1), "b": (2, 2)}
    for model in "ab":
        finish(store, f"{model}{model}u", {METRIC: ones}, model=model, model_digest=model, task="u")
    assert ranks(ranking.matrix(store), T) == {"a": (1, 2), "b": (1, 2)}


def test_a_row_that_lacks_a_task_has_no_average_and_says_which(store: Store) -> None:
    run(store, "new", "t", 0.99, 1)
    found = ranking.matrix(store)
    (row,) = [row for row in found.rows if row.entrant.model == "new"]
    assert row.average is None and list(row.missing) == [U] and found.rows[-1] is row
    complete = ranking.matrix(store, is_complete=True)
    assert [row.entrant.model for row in complete.rows] == [row.entrant.model for row in found.rows[:-1]]


@pytest.mark.parametrize(
    "facts",
    [
        {"model_digest": "other"},
        {"dtype": "bfloat16"},
        {"num_fewshot": 4},
        {"limit": 300},
        {"quantisation": "int8"},
        {"settings": {"max_new_tokens": 3}},
        {"settings": {"min_new_tokens": 3}},
    ],
)
def test_other_weights_dtype_or_protocol_are_another_row(store: Store, facts: dict[str, object]) -> None:
    before = len(ranking.matrix(store).rows)
    finish(store, "zzzz", {METRIC: drawn(1, 300, 0.5)}, **({"model": "good", "model_digest": "digest of good"} | facts))
    assert len(ranking.matrix(store).rows) == before + 1


def test_two_variants_of_a_metric_never_share_a_column(store: Store) -> None:
    other = "exact_match/squad"
    finish(store, "yyyy", {other: drawn(2, 300, 0.7)}, model="good", model_digest="digest of good")
    found = ranking.matrix(store)
    assert [column.name for column in found.columns] == ["exact_match/squad", METRIC, METRIC]


def test_the_newest_of_two_runs_in_a_cell_stands_there(store: Store) -> None:
    run(store, "good", "t", 0.2, 5, created="2030-01-01")
    cell = ranking.matrix(store).rows[-1].cells
    good = next(row for row in ranking.matrix(store).rows if row.entrant.model == "good")
    assert good.cells[T].run.created == "2030-01-01" and good.cells[T].others == 1
    assert cell[T].others == 0


def test_a_run_with_too_many_errors_is_shown_without_a_rank(store: Store) -> None:
    run(store, "sick", "t", 0.95, 5, status="too many errors")
    found = ranking.matrix(store)
    assert ranks(found, T) == {"good": (1, 1), "fair": (2, 3), "even": (2, 3), "sick": None}


def test_points_count_in_the_average_by_the_most_there_is(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for model, points in (("a", 700.0), ("b", 1400.0)):
        score = Score("mme", "official", "all", points, points - 50, points + 50, 25.0, n=100, unit=POINTS)
        finish(
            store,
            f"{model}mme",
            {"mme/official": drawn(1, 100, 0.5)},
            whole=[score],
            model=model,
            model_digest=model,
            task="mme",
        )
    found = ranking.matrix(store)
    assert [row.average.value for row in found.rows if row.average] == [0.5, 0.25]
    (column,) = found.columns
    assert found.how[column] == ["unpaired, from the standard errors"]
    assert ranks(found, column) == {"b": (1, 1), "a": (2, 2)}


def test_guessing_is_worth_nothing_in_the_average(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store, "aaaa", {METRIC: [1.0, 0.0, 0.0, 0.0] * 10}, task="ai2d")
    (row,) = ranking.matrix(store).rows
    assert row.average is not None and row.average.value == 0.0


def test_no_average_has_an_interval_beyond_what_can_be_scored(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for task, right in (("t", 200), ("u", 199), ("v", 0)):
        finish(store, task * 4, {METRIC: [1.0] * right + [0.0] * (200 - right)}, task=task)
    for tasks, low, high in (("tu", 0.975, 1.0), ("v", 0.0, 0.02)):
        (row,) = ranking.matrix(store, [run for run in store.runs() if run.task in tasks]).rows
        assert row.average is not None and row.average.low is not None and row.average.high is not None
        assert 0 <= row.average.low <= row.average.value <= row.average.high <= 1
        assert row.average.low >= low - 0.01 and row.average.high <= high
        assert row.average.high - row.average.low > 0.01


def test_a_slice_has_a_leaderboard_of_its_own(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kinds = ["human", "machine"] * 50
    for model, share in (("a", 0.2), ("b", 0.9)):
        finish(store, model * 4, {METRIC: drawn(3, 100, share)}, kinds=kinds, model=model, model_digest=model)
    found = ranking.matrix(store, slice="kind=human")
    (column,) = found.columns
    assert column == replace(T, slice="kind=human")
    assert [row.cells[column].score.n for row in found.rows] == [50, 50]
    assert ranks(found, column) == {"b": (1, 1), "a": (2, 2)}


def test_an_empty_store_has_an_empty_leaderboard(tmp_path: Path) -> None:
    found = ranking.matrix(Store(tmp_path))
    assert (found.columns, found.rows, found.tests) == ([], [], 0)


def test_a_run_that_is_written_anew_is_ranked_anew(store: Store) -> None:
    assert ranks(ranking.matrix(store), T)["good"] == (1, 1)
    file = Path(store.file_of("goodt116"))
    os.utime(file, (1, 1))
    run(store, "good", "t", 0.1, ord("t"))
    assert ranks(ranking.matrix(store), T) == {"good": (3, 3), "fair": (1, 2), "even": (1, 2)}


@pytest.mark.parametrize("per_document", [1, 3])
@pytest.mark.parametrize("scale", [1.0, 0.7123])
def test_the_table_tests_pairs_as_a_comparison_does(per_document: int, scale: float, tmp_path: Path) -> None:
    store = Store(tmp_path)
    documents = [f"d{number // per_document}" for number in range(90)]
    runs = []
    for number, share in enumerate((0.3, 0.5, 0.6)):
        values = [scale * one for one in drawn(number, 90, share)]
        runs.append(finish(store, f"{number}000", {METRIC: values}, documents=documents))
    for (first, second), pair in pairs.of_column(store, runs, METRIC).items():
        found = compare.compare(store, runs[first].run_id, runs[second].run_id).of(METRIC)
        assert pair.difference == pytest.approx(found.difference)
        assert pair.p_value == pytest.approx(found.p_value, abs=1e-9)
        assert pair.stderr == pytest.approx(found.stderr, rel=0.1)


def test_runs_that_share_only_some_questions_are_tested_on_those(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs = [
        finish(store, "aaaa", {METRIC: drawn(1, 200, 0.5)}),
        finish(store, "bbbb", {METRIC: drawn(2, 150, 0.8)}),
        finish(store, "cccc", {METRIC: drawn(3, 200, 0.5)}),
    ]
    found = pairs.of_column(store, runs, METRIC)
    for (first, second), pair in found.items():
        whole = compare.compare(store, runs[first].run_id, runs[second].run_id).of(METRIC)
        assert (pair.p_value, pair.difference) == (pytest.approx(whole.p_value), pytest.approx(whole.difference))


def test_a_rival_is_the_highest_row_that_shares_a_question(tmp_path: Path) -> None:
    store = Store(tmp_path)
    asked = {"first": range(300), "second": range(150), "third": range(150, 300), "alone": range(300, 400)}
    for number, (model, questions) in enumerate(asked.items()):
        scores = drawn(number, len(questions), [0.6, 0.9, 0.8, 0.95][number])
        names = {place: {"sample_id": f"s{question}"} for place, question in enumerate(questions)}
        finish(store, model, {METRIC: scores}, changes=names, model=model, model_digest=model, task="t")
    found = ranking.matrix(store)
    rivals = {row.entrant.model: row.cells[T].rival for row in found.rows}
    named = {model: rival and rival.model for model, rival in rivals.items()}
    assert named == {"first": "second", "second": "first", "third": "first", "alone": None}


def test_the_normal_approximation_of_many_clusters_is_near_and_never_too_small() -> None:
    random = np.random.default_rng(0)
    for shift in (0.0, 0.1, 0.2, 0.3):
        totals = random.normal(shift, 1.0, 400)
        exact = significance.sign_flips(totals).p_value
        near = significance.sign_flips_of_many(float(totals.sum()), float((totals**2).sum())).p_value
        assert 0.98 * exact <= near <= 1.5 * exact + 1e-6


@pytest.mark.parametrize("kinds", [["human"] * 20 + ["machine"] * 80, ["human", "machine"] * 50])
def test_a_mean_of_slices_is_ranked_as_one(kinds: list[str], tmp_path: Path) -> None:
    """Where the slices are of one size, and where they are not, the pair's difference is that of the stored scores."""
    store, runs = Store(tmp_path), []
    for number in range(3):
        right = np.array(drawn(number, 100, 0.3 + 0.2 * number))
        mean = float(np.mean([right[np.array(kinds) == kind].mean() for kind in ("human", "machine")]))
        whole = Score("exact_match", "strip-lower", "all", mean, mean - 0.1, mean + 0.1, 0.05, n=100)
        parts = ("kind=human", "kind=machine")
        values = {METRIC: right.tolist()}
        runs.append(finish(store, f"{number}000", values, kinds=kinds, whole=[whole], mean_of=parts))
    for (first, second), pair in pairs.of_column(store, runs, METRIC).items():
        scores = [runs[number].scores[0].value or 0.0 for number in (first, second)]
        found = compare.compare(store, runs[first].run_id, runs[second].run_id, slices=["all"]).of(METRIC)
        assert pair.test.startswith(("sign flips", "McNemar"))
        assert pair.difference == pytest.approx(scores[1] - scores[0])
        assert pair.p_value == pytest.approx(found.p_value, rel=0.05, abs=1e-9)


def test_standard_errors_of_pairs_are_statsmodels_clustered_ones(tmp_path: Path) -> None:
    store = Store(tmp_path)
    documents = [f"d{number}" for number in np.random.default_rng(0).integers(30, size=120)]
    values = [np.random.default_rng(seed).random(120) for seed in (1, 2)]
    runs = [
        finish(store, f"{number}000", {METRIC: one.tolist()}, documents=documents) for number, one in enumerate(values)
    ]
    groups = np.unique(documents, return_inverse=True)[1]
    theirs = OLS(values[1] - values[0], np.ones(120)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    assert pairs.of_column(store, runs, METRIC)[0, 1].stderr == pytest.approx(float(theirs.bse[0]), rel=1e-6)


def test_two_variants_of_a_task_count_once_in_the_average_and_make_it_no_surer(tmp_path: Path) -> None:
    def average(*variants: str) -> ranking.Average:
        store = Store(tmp_path / "-".join(variants))
        for task in ("t", "u"):
            for variant in variants if task == "t" else variants[:1]:
                share = 0.5 if task == "t" else 0.9
                name = f"exact_match/{variant}"
                finish(store, f"{task}{variant}".ljust(8, "0"), {name: drawn(1, 200, share)}, task=task)
        (row,) = ranking.matrix(store).rows
        assert row.average is not None
        return row.average

    one, two = average("a"), average("a", "b")
    assert two.value == pytest.approx(one.value)
    assert (two.low, two.high) == (pytest.approx(one.low), pytest.approx(one.high))


@pytest.mark.parametrize(("better", "worse"), [((1, 1), (0, 1)), ((3, 3), (0, 3)), ((10, 10), (6, 10))])
@pytest.mark.parametrize("tasks", ["t", "tu"])
def test_an_average_is_no_surer_than_the_tests_of_its_columns(
    better: tuple[int, int], worse: tuple[int, int], tasks: str, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    for model, (right, n) in (("a", better), ("b", worse)):
        for task in tasks:
            values = [1.0] * right + [0.0] * (n - right) if task == "t" else [1.0, 0.0] * 50
            finish(store, f"{model}{task}", {METRIC: values}, model=model, model_digest=model, task=task)
    found = ranking.matrix(store)
    assert ranks(found, T) == {"a": (1, 2), "b": (1, 2)}
    assert [row.average.ranks for row in found.rows if row.average] == [(1, 2), (1, 2)]


def test_three_questions_on_which_two_models_agree_do_not_tell_that_they_are_equal_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for model, share in (("a", 0.6), ("b", 0.3)):
        finish(store, f"{model}few", {METRIC: [1.0] * 3}, model=model, model_digest=model, task="t")
        finish(store, f"{model}many", {METRIC: drawn(1, 300, share)}, model=model, model_digest=model, task="u")
    found = ranking.matrix(store)
    assert ranks(found, U) == {"a": (1, 1), "b": (2, 2)}
    assert [row.average.ranks for row in found.rows if row.average] == [(1, 2), (1, 2)]


def test_a_pair_that_differs_alike_on_every_question_has_the_error_of_a_comparison(tmp_path: Path) -> None:
    store = Store(tmp_path)
    runs = [finish(store, f"{number}000", {METRIC: [value] * 30}) for number, value in enumerate((0.3, 0.6))]
    found = compare.compare(store, runs[0].run_id, runs[1].run_id).of(METRIC)
    assert pairs.of_column(store, runs, METRIC)[0, 1].stderr == pytest.approx(found.stderr)
    assert found.stderr is not None and found.stderr > 0.01


def test_two_errors_of_0_show_nothing() -> None:
    assert pairs.normal(0.3, 0.0).p_value is None
    assert pairs.normal(0.3, 0.1).p_value == pytest.approx(0.0027, abs=1e-4)
