"""The leaderboard: ranges of ranks, best cells only where that is sure, averages only of what is complete."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from leaderboards import ranking
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
    [{"model_digest": "other"}, {"dtype": "bfloat16"}, {"num_fewshot": 4}, {"limit": 300}, {"quantisation": "int8"}],
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
