"""Two runs on the same questions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from leaderboards import compare, pairing
from leaderboards.errors import NotComparable
from leaderboards.records import POINTS, Score
from leaderboards.store import Store
from tests.leaderboards.made import METRIC, drawn, finish, score

KINDS = ["human", "machine"] * 100


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Run a is right on 40 %, run b on 70 %; both have a metric of tenths beside."""
    made = Store(tmp_path)
    for run_id, share in (("aaaa", 0.4), ("bbbb", 0.7)):
        right = drawn(len(run_id) + ord(run_id[0]), 200, share)
        finish(made, run_id, {METRIC: right, "vqa_accuracy/x": [0.3 * one for one in right]}, kinds=KINDS)
    return made


def test_every_metric_is_compared_on_the_whole_and_on_slices(store: Store) -> None:
    found = compare.compare(store, "a", "b")
    assert [(one.metric, one.slice) for one in found.differences] == [
        (metric, slice) for metric in (METRIC, "vqa_accuracy/x") for slice in ("all", "kind=human", "kind=machine")
    ]
    whole = found.of(METRIC)
    assert (whole.a, whole.b) == (store.run("a").scores[0].value, store.run("b").scores[0].value)
    assert whole.difference == pytest.approx((whole.b or 0) - (whole.a or 0))
    assert whole.low is not None and whole.low > 0 and whole.is_sure
    assert whole.wins - whole.losses == pytest.approx(200 * (whole.difference or 0))
    assert (whole.n, whole.clusters, found.n_shared) == (200, 200, 200)
    assert whole.test == "McNemar, exact" and found.of("vqa_accuracy/x").test == "sign flips, exact"


def test_turned_round_the_difference_has_the_other_sign(store: Store) -> None:
    there, back = compare.compare(store, "a", "b").of(METRIC), compare.compare(store, "b", "a").of(METRIC)
    assert back.difference == pytest.approx(-(there.difference or 0))
    assert (back.wins, back.losses, back.p_value) == (there.losses, there.wins, there.p_value)


def test_slices_are_corrected_for_their_number(store: Store) -> None:
    found = compare.compare(store, "a", "b", metrics=["exact_match"])
    whole, *slices = found.differences
    assert whole.p_adjusted == whole.p_value
    smallest = min(slices, key=lambda one: one.p_value or 0)
    assert smallest.p_adjusted == pytest.approx(2 * (smallest.p_value or 0))


def test_several_runs_are_corrected_for_their_number(store: Store) -> None:
    finish(store, "cccc", {METRIC: drawn(9, 200, 0.5)})
    first, second = compare.against(store, "a", ["b", "c"], metrics=[METRIC], slices=["all"])
    pair = sorted([first.of(METRIC), second.of(METRIC)], key=lambda one: one.p_value or 0)
    assert pair[0].p_adjusted == pytest.approx(2 * (pair[0].p_value or 0))
    assert pair[1].p_adjusted == pytest.approx(max(pair[1].p_value or 0, pair[0].p_adjusted or 0))


def test_questions_without_an_answer_and_in_one_run_only_take_no_part(store: Store) -> None:
    error = {"error_kind": "BadImage", "error": "cut", "scores": {}, "answer": None}
    short = drawn(3, 150, 0.5)
    finish(store, "dddd", {METRIC: short}, changes={0: error, 1: {"targets": ["else"]}}, whole=[])
    found = compare.compare(store, "a", "d")
    assert (found.n_shared, found.n_only_a, found.n_only_b) == (150, 50, 0)
    assert (found.n_unanswered, found.n_changed) == (1, 1)
    assert found.of(METRIC).n == 149
    assert found.of(METRIC).b == pytest.approx(np.mean(short[1:]))


def test_a_score_of_the_whole_set_has_no_paired_test_but_the_mean_beside_it_has(store: Store) -> None:
    for run_id, seed in (("eeee", 5), ("ffff", 6)):
        right = drawn(seed, 100, 0.6)
        points = Score("mme", "official", "all", 2 * sum(right), None, None, None, n=100, unit=POINTS)
        beside = replace(score("mme/official", right, KINDS[:100]), metric="mme.accuracy")
        finish(store, run_id, {"mme/official": right}, whole=[points, beside])
    found = compare.compare(store, "e", "f", slices=["all"])
    points, accuracy = found.differences
    assert points.reason.startswith(pairing.NO_TEST) and points.p_value is None and points.low is None
    assert points.difference == pytest.approx(2 * 100 * (accuracy.difference or 0))
    assert (points.unit, accuracy.metric, accuracy.unit) == (POINTS, "mme.accuracy/official", "share")
    assert accuracy.p_value is not None


def test_a_mean_of_slices_is_compared_as_one(store: Store) -> None:
    kinds = ["human"] * 20 + ["machine"] * 80
    made: dict[str, list[float]] = {"hhhh": drawn(1, 100, 0.3), "iiii": drawn(2, 100, 0.8)}
    means = {}
    for run_id, right in made.items():
        means[run_id] = (np.mean(right[:20]) + np.mean(right[20:])) / 2
        whole = Score("exact_match", "strip-lower", "all", means[run_id], None, None, None, n=100)
        parts = ("kind=human", "kind=machine")
        finish(store, run_id, {METRIC: right}, kinds=kinds, whole=[whole], mean_of=parts)
    found = compare.compare(store, "h", "i", slices=["all"]).of(METRIC)
    assert (found.a, found.b) == (pytest.approx(means["hhhh"]), pytest.approx(means["iiii"]))
    assert found.difference == pytest.approx(means["iiii"] - means["hhhh"])
    assert found.low is not None and found.low < means["iiii"] - means["hhhh"] < (found.high or 0)


def test_differing_questions_come_surest_first(store: Store) -> None:
    ranked = {"option_logprobs": [-0.1, -5.0], "logprob": -0.1}
    changes = {number: {"logprob": -0.1 * number - 1} for number in range(4)} | {4: ranked, 5: {"logprob": None}}
    finish(store, "jjjj", {METRIC: [1.0] * 6 + [0.0]}, changes=changes)
    finish(store, "kkkk", {METRIC: [0.0] * 7}, changes={4: ranked})
    found = compare.differing(store, "j", "k", METRIC)
    assert [one.sample_id for one in found] == ["s4", "s0", "s1", "s2", "s3", "s5"]
    first = found[0]
    assert (first.score_a, first.score_b, first.difference) == (1.0, 0.0, -1.0)
    assert first.sure == pytest.approx(1 / (1 + np.exp(-4.9)))
    assert first.answer_a == "jjjj says 4" and first.has_same_prompt and found[-1].sure is None
    assert [one.sample_id for one in compare.differing(store, "j", "k", METRIC, limit=2, offset=1)] == ["s0", "s1"]


def test_differing_questions_of_a_slice(store: Store) -> None:
    found = compare.differing(store, "a", "b", METRIC, slice="kind=human", limit=500)
    assert found and {one.slices["kind"] for one in found} == {"human"}
    difference = compare.compare(store, "a", "b").of(METRIC, "kind=human")
    assert len(found) == difference.wins + difference.losses


@pytest.mark.parametrize(
    ("other", "message"),
    [({"task": "u"}, "only runs on the same questions"), ({"split": "val"}, "only runs on the same questions")],
)
def test_other_questions_are_refused(store: Store, other: dict[str, str], message: str) -> None:
    finish(store, "mmmm", {METRIC: [1.0]}, **other)
    with pytest.raises(NotComparable, match=message):
        compare.compare(store, "a", "m")


def test_mistakes_are_told_in_one_line(store: Store) -> None:
    with pytest.raises(NotComparable, match="compared with itself"):
        compare.compare(store, "a", "aaa")
    with pytest.raises(NotComparable, match="no metric 'exact' in both runs; there are"):
        compare.compare(store, "a", "b", metrics=["exact"])
    with pytest.raises(NotComparable, match="no slice 'kind=humans' in both runs; there are kind=human"):
        compare.compare(store, "a", "b", slices=["kind=humans"])


def test_notes_say_what_is_not_alike(store: Store) -> None:
    finish(store, "nnnn", {METRIC: drawn(1, 200, 0.5)}, num_fewshot=4, dtype="bfloat16")
    assert compare.compare(store, "a", "n").notes == ["shots: 0 against 4", "dtype: float32 against bfloat16"]
