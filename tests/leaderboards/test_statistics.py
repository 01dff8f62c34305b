"""Intervals against statsmodels, and by simulation: they hold the truth as often as they say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from leaderboards import statistics
from leaderboards.statistics import Interval, around, mean_of, wilson


def interval(scores: Sequence[float], clusters: Sequence[str]) -> Interval:
    """The interval of scores that have one."""
    found = statistics.interval(scores, clusters)
    assert found is not None
    return found


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_statsmodels_wilson(counts: tuple[int, int]) -> None:
    successes, n = counts
    found = wilson(successes, n)
    low, high = proportion_confint(successes, n, method="wilson")
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.stderr > 0


@pytest.mark.parametrize("value", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("n", [1, 3, 30])
def test_no_interval_is_empty_where_all_scores_are_equal(value: float, n: int) -> None:
    found = interval([value] * n, [str(number) for number in range(n)])
    assert found.value == pytest.approx(value)
    assert found == pytest.approx(wilson(value * n, n))
    assert found.high - found.low > 0.05


@pytest.mark.parametrize("scores", [[0.3, 0.6, 0.9], [1.0] * 20, [0.0, 1.0] * 10])
def test_questions_about_one_picture_count_as_one(scores: list[float]) -> None:
    found = interval(scores, ["picture"] * len(scores))
    assert found[:4] == pytest.approx(wilson(float(np.mean(scores)), 1)[:4])
    assert found.high - found.low > 0.6


@pytest.mark.parametrize("scores", [[7.0], [7.0] * 30, [-0.2, -0.2]])
def test_points_that_are_all_equal_have_no_interval(scores: list[float]) -> None:
    assert statistics.interval(scores, [str(number) for number in range(len(scores))]) is None


@pytest.mark.parametrize(
    ("scores", "kind"),
    [
        ([0.0, 1.0, 1.0, 1.0], "Wilson"),
        ([0.3, 1.0, 0.6, 0.0], "bootstrap"),
        ([0.6, 0.6, 0.6, 0.6], "Wilson"),
        ([1500.0, 1200.0, 900.0, 0.0], "bootstrap"),
    ],
)
def test_an_interval_says_of_which_kind_it_is(scores: list[float], kind: str) -> None:
    assert interval(scores, ["a", "b", "c", "d"]).kind == kind
    assert interval(scores, ["a", "a", "b", "b"]).kind == f"{kind}, by cluster"
    assert mean_of([wilson(3, 4), wilson(1, 4)]).kind.startswith("MOVER")


def test_questions_that_share_a_picture_widen_the_interval() -> None:
    scores = [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0] * 20
    alone = interval(scores, [str(number) for number in range(160)])
    together = interval(scores, [str(number // 4) for number in range(160)])
    assert together.high - together.low > 1.8 * (alone.high - alone.low)
    assert together.value == alone.value


def test_clusters_of_independent_scores_change_little() -> None:
    random = np.random.default_rng(0)
    scores = (random.random(2000) < 0.7).astype(float).tolist()
    alone = interval(scores, [str(number) for number in range(2000)])
    together = interval(scores, [str(number // 5) for number in range(2000)])
    assert together.high - together.low == pytest.approx(alone.high - alone.low, rel=0.15)


@pytest.mark.parametrize("kind", ["shares", "points"])
def test_the_truth_lies_inside_about_95_times_of_100(kind: str) -> None:
    """Questions in clusters of four, with a difficulty that each cluster shares."""
    random = np.random.default_rng(1)
    hits = 0
    trials = 300 if kind == "shares" else 60
    for _ in range(trials):
        difficulty = np.repeat(random.choice([0.9, 0.5], size=60), 4)
        scores = (random.random(240) < difficulty).astype(float)
        if kind == "points":
            scores *= 0.5
        found = interval(scores.tolist(), [str(number // 4) for number in range(240)])
        hits += found.low <= (0.7 if kind == "shares" else 0.35) <= found.high
    assert 0.9 <= hits / trials <= 1.0


def test_the_mean_of_parts_has_the_error_of_independent_parts() -> None:
    found = mean_of([Interval(0.8, 0.78, 0.82, 0.01), Interval(0.9, 0.88, 0.92, 0.01)])
    assert found.value == pytest.approx(0.85)
    assert found.stderr == pytest.approx(0.01 / 2**0.5)
    assert found.low < 0.85 < found.high


def test_drawing_clusters_by_kind_gives_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    values = random.choice([0.0, 0.3, 0.6, 0.9, 1.0], 4000)
    groups = np.repeat(np.arange(1000), 4)
    by_kind = statistics.bootstrap(values, groups)
    monkeypatch.setattr(statistics, "KINDS_ARE_FEW", len(values))
    one_by_one = statistics.bootstrap(values, groups)
    assert by_kind.low != one_by_one.low
    # Both ends and the spread within the noise of 2,000 resamples.
    assert by_kind == pytest.approx(one_by_one, abs=0.15 * one_by_one.stderr)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2)), min_size=1, max_size=6))
def test_the_mean_of_shares_stays_between_0_and_1(counts: list[tuple[int, int]]) -> None:
    parts = [wilson(successes, 40, 1 + effect) for successes, effect in counts]
    found = mean_of(parts)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert min(part.low for part in parts) <= found.low and found.high <= max(part.high for part in parts)


@pytest.mark.parametrize("shares", [(0.99, 0.995, 0.9), (0.5, 0.3, 0.98)])
def test_the_mean_of_parts_holds_the_truth_about_95_times_of_100_near_the_end(shares: tuple[float, ...]) -> None:
    random = np.random.default_rng(6)
    hits, beyond = 0, 0
    for _ in range(2000):
        found = mean_of([wilson(int(random.binomial(60, share)), 60) for share in shares])
        hits += found.low <= np.mean(shares) <= found.high
        beyond += found.value + 1.96 * found.stderr > 1
    assert 0.93 <= hits / 2000 <= 0.985
    assert beyond > 200 or shares[0] < 0.9  # where a normal interval would have left the scale


def test_an_interval_around_a_share_is_wilsons_on_the_questions_that_its_error_is_worth() -> None:
    alone = wilson(30, 40)
    assert around(0.75, (0.75 * 0.25 / 40) ** 0.5, 40, is_share=True) == pytest.approx(alone[1:3])
    doubled = wilson(30, 40, effect=2)
    assert around(0.75, (0.75 * 0.25 / 20) ** 0.5, 40, is_share=True) == pytest.approx(doubled[1:3])
    assert around(1.0, 0.001, 40, is_share=True) == pytest.approx(wilson(40, 40)[1:3])
    assert around(1.3, 0.1, 40, is_share=True) == pytest.approx((1.104, 1.496), abs=1e-3)
    assert around(0.9, 0.1, 40, is_share=False)[1] > 1
