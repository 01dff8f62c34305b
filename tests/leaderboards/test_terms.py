"""Figures that are no means: worked out anew from the samples, against plain ways to do the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from leaderboards import compare, pairing, pairs, spread, terms
from leaderboards.records import POINTS, SampleRecord, Score, Term, on_slice
from leaderboards.store import Store
from leaderboards.terms import Ratios
from tests.leaderboards.made import finish

POPE = "pope/official"
N = 300

Bools = np.ndarray[Any, np.dtype[np.bool_]]


def drawn(seed: int, share: float, n: int = N) -> tuple[Bools, Bools]:
    """What is true, the same for every seed, and what a model says, right so often; questions come in sixes."""
    true = np.random.default_rng(99).random(n) < 0.5
    hard = np.repeat(np.random.default_rng(98).normal(0, 0.1, n // 6), 6)
    return true, np.where(np.random.default_rng(seed).random(n) < share + hard, true, ~true)


def f1(true: Bools, said: Bools) -> float:
    return float(2 * (true & said).sum() / (true.sum() + said.sum()))


def terms_of(true: Bools, said: Bools) -> list[list[Term]]:
    return [[Term("", 2.0 * (t and s), float(t) + float(s))] for t, s in zip(true, said, strict=True)]


def pope(store: Store, run_id: str, true: Bools, said: Bools, kinds: Sequence[str] | None = None, **facts: Any) -> None:
    """A run under F1; with kinds F1 is the mean of theirs."""
    n = len(true)
    of = {kind: np.array(kinds) == kind for kind in sorted(set(kinds))} if kinds else {}
    by_kind = {kind: f1(true[held], said[held]) for kind, held in of.items()}
    whole = float(np.mean([*by_kind.values()])) if of else f1(true, said)
    scores = [Score("pope", "official", "all", whole, None, None, 0.02, n=n)]
    scores += [
        Score("pope", "official", f"kind={kind}", value, None, None, 0.03, n=9) for kind, value in by_kind.items()
    ]
    held = terms_of(true, said)
    finish(
        store,
        run_id,
        {POPE: (true == said).astype(float).tolist()},
        documents=[f"d{number // 6}" for number in range(n)],
        kinds=kinds,
        changes={number: {"terms": {POPE: held[number]}, **facts.pop(str(number), {})} for number in range(n)},
        whole=scores,
        mean_of=tuple(f"kind={kind}" for kind in of),
        **facts,
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    for run_id, seed, share in (("aaaa", 1, 0.7), ("bbbb", 2, 0.78)):
        pope(made, run_id, *drawn(seed, share))
    return made


def test_f1_is_compared_with_an_interval_and_a_test(store: Store) -> None:
    (found,) = compare.compare(store, "a", "b").differences
    (true, a), (_, b) = drawn(1, 0.7), drawn(2, 0.78)
    assert (found.a, found.b) == (pytest.approx(f1(true, a)), pytest.approx(f1(true, b)))
    assert found.difference == pytest.approx(f1(true, b) - f1(true, a))
    assert found.low is not None and found.low < (found.difference or 0) < (found.high or 0)
    assert found.p_value is not None and found.test.startswith("sign flips") and not found.reason
    assert (found.n, found.clusters, found.carried) == (N, N // 6, POPE)
    assert found.wins == int(((b == true) & (a != true)).sum())


def test_the_interval_is_that_of_whole_figures_worked_out_from_redrawn_documents(store: Store) -> None:
    (found,) = compare.compare(store, "a", "b").differences
    (true, a), (_, b) = drawn(1, 0.7), drawn(2, 0.78)
    random = np.random.default_rng(5)
    redrawn: list[float] = []
    for _ in range(3000):
        rows = (random.integers(N // 6, size=N // 6)[:, None] * 6 + np.arange(6)).ravel()
        redrawn.append(f1(true[rows], b[rows]) - f1(true[rows], a[rows]))
    low, high = np.quantile(redrawn, (0.025, 0.975))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.004)
    assert found.stderr == pytest.approx(np.std(redrawn), rel=0.05)


@pytest.mark.parametrize("share", [0.71, 0.76])
def test_the_p_value_is_that_of_runs_whose_answers_are_exchanged(share: float) -> None:
    (true, a), (_, b) = drawn(1, 0.7), drawn(3, share)
    both = [ratio(terms_of(true, said)) for said in (a, b)]
    groups = np.arange(N) // 6
    found = pairing.paired(terms.moved(*both), groups, is_binary=False)
    random = np.random.default_rng(6)
    seen, as_far, times = abs(f1(true, b) - f1(true, a)), 0, 10_000
    for _ in range(times):
        swapped = np.repeat(random.random(N // 6) < 0.5, 6)
        one, other = np.where(swapped, b, a), np.where(swapped, a, b)
        as_far += abs(f1(true, other) - f1(true, one)) >= seen - 1e-12
    assert found.p_value == pytest.approx(as_far / times, abs=0.015)


def ratio(held: Sequence[Sequence[Term]]) -> Ratios:
    above, below = (np.array([[getattr(one, name) for one in of] for of in held]) for name in ("above", "below"))
    return Ratios(above, below, np.ones(above.shape[1]))


def test_shares_add_up_to_the_difference_and_are_0_where_answers_are_alike() -> None:
    (true, a), (_, b) = drawn(1, 0.7), drawn(2, 0.9)
    both = [ratio(terms_of(true, said)) for said in (a, b)]
    shares = terms.moved(*both)
    assert shares.mean() == pytest.approx(f1(true, b) - f1(true, a))
    assert (shares[a == b] == 0).all() and (shares[a != b] != 0).all()
    assert terms.linear(both[0]).mean() == pytest.approx(f1(true, a))
    assert terms.moved(both[1], both[0]) == pytest.approx(-shares)


def test_a_mean_of_three_f1_is_compared_as_one_and_its_slices_beside_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kinds = ["random"] * 120 + ["popular"] * 90 + ["adversarial"] * 90
    for run_id, seed in (("aaaa", 1), ("bbbb", 2)):
        pope(store, run_id, *drawn(seed, 0.6 + 0.1 * seed), kinds)
    found = compare.compare(store, "a", "b")
    whole = found.of(POPE)
    stored = [store.run(run_id).scores[0].value or 0.0 for run_id in "ab"]
    assert (whole.a, whole.b) == (pytest.approx(stored[0]), pytest.approx(stored[1]))
    assert whole.p_value is not None and whole.low is not None and whole.low < stored[1] - stored[0]
    for kind in ("random", "popular", "adversarial"):
        part = found.of(POPE, f"kind={kind}")
        score = next(one for one in store.run("b").scores if one.slice == f"kind={kind}")
        assert part.b == pytest.approx(score.value) and part.test


def test_only_shared_and_answered_questions_count(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (true, a), (_, b) = drawn(1, 0.7), drawn(2, 0.8)
    pope(store, "aaaa", true, a)
    lost = {"error_kind": "BadImage", "scores": {}, "terms": {}, "answer": None}
    pope(store, "bbbb", true[:240], b[:240], **{"0": lost})
    (found,) = compare.compare(store, "a", "b").differences
    used = slice(1, 240)
    assert (found.a, found.b) == (pytest.approx(f1(true[used], a[used])), pytest.approx(f1(true[used], b[used])))
    assert found.n == 239


def test_points_of_categories_are_compared(tmp_path: Path) -> None:
    """MME: a category's points are 100 times the share of questions and 100 times the share of pictures."""
    store = Store(tmp_path)
    points: dict[str, float] = {}
    for run_id, seed in (("aaaa", 1), ("bbbb", 2)):
        right = np.random.default_rng(seed).random(80) < 0.5 + 0.15 * seed
        pictures = right.reshape(-1, 2).all(axis=1)
        changes: dict[int, dict[str, Any]] = {}
        total = 0.0
        for number in range(80):
            kind = "ocr" if number < 20 else "count"
            held = [Term(f"{kind} questions", 100.0 * right[number], 1.0)]
            held += [Term(f"{kind} pictures", 100.0 * pictures[number // 2], 1.0)] if number % 2 == 0 else []
            changes[number] = {"terms": {"mme/official": held}}
        for part, pairs_ in ((right[:20], pictures[:10]), (right[20:], pictures[10:])):
            total += 100 * part.mean() + 100 * pairs_.mean()
        points[run_id] = total
        whole = [Score("mme", "official", "all", total, None, None, None, n=80, unit=POINTS)]
        documents = [f"p{number // 2}" for number in range(80)]
        values = {"mme/official": right.astype(float).tolist()}
        finish(store, run_id, values, documents=documents, changes=changes, whole=whole)
    (found,) = compare.compare(store, "a", "b").differences
    assert (found.a, found.b, found.unit) == (pytest.approx(points["aaaa"]), pytest.approx(points["bbbb"]), POINTS)
    assert found.p_value is not None and (found.low or 0) < points["bbbb"] - points["aaaa"] < (found.high or 0)


def test_a_slice_with_terms_of_its_own_is_compared_by_those(tmp_path: Path) -> None:
    """CIDEr weighs words by the slice's own references: its questions' scores are others there."""
    store = Store(tmp_path)
    name, label = "captions/ptb", "kind=near"
    for run_id, seed in (("aaaa", 1), ("bbbb", 2)):
        whole, near = (np.random.default_rng([seed, kind]).random(60) for kind in (0, 1))
        kinds = ["near", "out"] * 30
        own = {
            number: {"terms": {on_slice(name, label): [Term("", float(near[number]), 1.0)]}}
            for number in range(0, 60, 2)
        }
        scores = [
            Score("captions", "ptb", "all", float(whole.mean()), None, None, 0.03, n=60),
            Score("captions", "ptb", label, float(near[::2].mean()), None, None, 0.03, n=30),
        ]
        finish(store, run_id, {name: whole.tolist()}, kinds=kinds, changes=own, whole=scores)
    found = compare.compare(store, "a", "b")
    assert found.of(name).b == pytest.approx(store.run("b").scores[0].value)
    assert found.of(name, label).b == pytest.approx(store.run("b").scores[1].value)
    assert found.of(name, label).test and found.of(name, label).n == 30
    answered = pairs.of_column(store, [store.run("a"), store.run("b")], name, label)
    assert answered[0, 1].difference == pytest.approx(found.of(name, label).difference)


def test_the_leaderboard_tests_figures_that_are_no_means_in_pairs(store: Store) -> None:
    runs = [store.run("a"), store.run("b")]
    pair = pairs.of_column(store, runs, POPE)[0, 1]
    found = compare.compare(store, "a", "b").differences[0]
    assert pair.test.startswith("sign flips")
    assert pair.difference == pytest.approx(found.difference)
    assert pair.stderr == pytest.approx(found.stderr, rel=0.1)
    assert pair.p_value == pytest.approx(found.p_value, abs=0.02)


def test_seeds_under_a_figure_that_is_no_mean_have_a_component(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in range(3):
        pope(store, f"{seed}000", *drawn(seed, 0.6 + 0.1 * seed), seed=seed)
    (found,) = spread.spreads(store, store.runs())
    assert found.component is not None and found.component.mean == pytest.approx(found.mean)


def test_without_terms_there_is_no_test_and_the_reason_says_what_may_help(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for run_id, seed in (("aaaa", 1), ("bbbb", 2)):
        true, said = drawn(seed, 0.7)
        whole = [Score("pope", "official", "all", f1(true, said), None, None, 0.02, n=N)]
        finish(store, run_id, {POPE: (true == said).astype(float).tolist()}, whole=whole)
    (found,) = compare.compare(store, "a", "b").differences
    assert found.p_value is None and "flab results rescore" in found.reason


def test_rescoring_is_not_advised_for_a_figure_that_is_no_sum(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for run_id, seed in (("aaaa", 1), ("bbbb", 2)):
        whole = [Score("bleu", "official", "all", 0.1 * seed, None, None, None, n=N)]
        finish(store, run_id, {"bleu/official": drawn(seed, 0.7)[0].astype(float).tolist()}, whole=whole)
    (found,) = compare.compare(store, "a", "b").differences
    assert found.p_value is None and found.reason == pairing.NO_SUM


def test_files_without_the_column_are_read_beside_those_with_it(store: Store) -> None:
    file = Path(store.file_of("aaaa"))
    old = file.with_name("old.parquet")
    duckdb.sql(f"copy (select * exclude (terms) from '{file}') to '{old}'")
    old.replace(file)
    (found,) = compare.compare(Store(store.path), "a", "b").differences
    assert found.reason.startswith(pairing.NO_TEST)
    rows = Store(store.path).samples("aaaa")
    assert SampleRecord.of_row(rows.columns, rows.fetchall()[0]).terms == {}
    pairs.of_column(Store(store.path), [store.run("a"), store.run("b")], POPE)


def test_a_figure_that_is_not_defined_on_what_is_shared_has_no_test(tmp_path: Path) -> None:
    store = Store(tmp_path)
    true, said = np.array([False] * 20 + [True] * 20), np.array([False] * 20 + [True] * 20)
    for run_id in ("aaaa", "bbbb"):
        lost = {str(number): {"error_kind": "BadImage", "scores": {}, "terms": {}} for number in range(20, 40)}
        pope(store, run_id, true, said, **(lost if run_id == "bbbb" else {}))
    (found,) = compare.compare(store, "a", "b").differences
    assert found.reason == pairing.UNDEFINED and found.p_value is None
