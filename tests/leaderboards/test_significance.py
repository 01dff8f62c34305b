"""Paired tests against scipy and statsmodels on random data, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test
from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower

from leaderboards import significance
from leaderboards.significance import detectable, holm, mcnemar, paired, sign_flips

ALONE = np.arange(1000)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_statsmodels_exact_one(wins: int, losses: int) -> None:
    theirs = their_mcnemar([[7, wins], [losses, 3]], exact=True).pvalue
    assert mcnemar(wins, losses).p_value == pytest.approx(theirs if wins + losses else 1.0, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_holm_is_statsmodels_holm(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1], abs=1e-12)


def test_nothing_to_correct_gives_nothing() -> None:
    assert holm([]) == []


def enumerated(totals: np.ndarray) -> float:
    """scipy's own test, over all signs. Sums that are equal have to be equal in floats too, so whole numbers do best."""
    found = permutation_test((totals,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative="two-sided")
    return float(found.pvalue)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1, 1).map(lambda value: round(value, 3)), min_size=2, max_size=10))
def test_all_signs_are_tried_as_scipy_tries_them(totals: list[float]) -> None:
    assert sign_flips(np.array(totals)).p_value == pytest.approx(enumerated(np.rint(np.array(totals) * 1000)), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([-2.0, -1.0, -0.6, -0.3, 0.0, 0.3, 0.6, 1.0, 2.0]), min_size=13, max_size=15))
def test_multiples_of_one_number_have_their_exact_distribution(totals: list[float]) -> None:
    assert sign_flips(np.array(totals)).p_value == pytest.approx(enumerated(np.rint(np.array(totals) * 1000)), abs=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.25, 0.5])
def test_the_saddlepoint_is_near_the_exact_distribution(shift: float) -> None:
    totals = np.random.default_rng(4).normal(shift, 0.5, 15)
    found = sign_flips(totals)
    assert found.test == significance.SADDLEPOINT
    assert found.p_value == pytest.approx(enumerated(totals), rel=0.05, abs=2e-4)


def test_the_saddlepoint_is_near_many_random_signs() -> None:
    random = np.random.default_rng(5)
    totals = random.gamma(0.7, size=300) * random.choice([-1, 1], 300, p=[0.45, 0.55])
    signs = random.choice([-1.0, 1.0], (40_000, 300))
    drawn = float((np.abs(signs @ np.abs(totals)) >= abs(totals.sum())).mean())
    assert sign_flips(totals).p_value == pytest.approx(drawn, abs=4 * np.sqrt(drawn / 40_000))


def test_all_clusters_on_one_side_have_the_smallest_p_value() -> None:
    totals = np.random.default_rng(0).random(20) + 0.01
    assert sign_flips(totals).p_value == pytest.approx(2.0**-19)


@settings(max_examples=30, deadline=None)
@given(st.integers(20, 200), st.integers(0, 2**32 - 1))
def test_questions_alone_have_mcnemars_test_and_the_same_value_as_sign_flips(n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    differences = random.choice([-1.0, 0.0, 1.0], n)
    found = paired(differences, ALONE[:n], is_binary=True)
    assert found.test == significance.MCNEMAR
    assert found.p_value == pytest.approx(sign_flips(differences).p_value, abs=1e-9)
    assert (found.wins, found.losses, found.ties) == tuple(int((differences == sign).sum()) for sign in (1, -1, 0))
    assert found.low <= found.difference <= found.high


def test_questions_that_share_a_document_are_tested_together() -> None:
    differences = np.repeat([1.0, 1.0, 1.0, -1.0, 0.0] * 4, 5)
    alone = paired(differences, ALONE[:100], is_binary=True)
    together = paired(differences, np.repeat(np.arange(20), 5), is_binary=True)
    assert together.test == significance.SIGN_FLIPS
    assert alone.p_value < 0.001 < together.p_value
    assert together.high - together.low > 1.8 * (alone.high - alone.low)
    assert together.detectable > 1.8 * alone.detectable


@pytest.mark.parametrize("is_binary", [True, False])
def test_runs_that_answer_alike_are_not_known_to_be_equal(is_binary: bool) -> None:
    found = paired(np.zeros(50), ALONE[:50], is_binary=is_binary)
    assert found.p_value == 1.0
    assert -0.1 < found.low < 0 < found.high < 0.1


@pytest.mark.parametrize("size", [0.3, 1.0])
def test_a_difference_that_is_the_same_on_every_question_is_not_known_exactly(size: float) -> None:
    found = paired(np.full(30, size), ALONE[:30], is_binary=size == 1)
    assert found.low < size - 0.02 and found.stderr > 0.01


@pytest.mark.parametrize("differences", [[-1.0, 0.0, -1.0, 0.0, 0.0, 0.0], [-0.3] * 40, [-1.0] * 40])
def test_one_picture_shows_no_difference_by_its_interval_either(differences: list[float]) -> None:
    found = paired(np.array(differences), np.zeros(len(differences), np.int64), is_binary=False)
    assert found.p_value == 1.0 and found.low < 0 < found.high


def test_a_small_benchmark_cannot_show_a_small_difference() -> None:
    assert paired(np.zeros(50), ALONE[:50], is_binary=True).detectable >= 6 / 50


def test_the_detectable_difference_is_that_of_statsmodels() -> None:
    # One sample of 400 paired differences with a standard deviation of 0.7.
    effect = NormalIndPower(ddof=0).solve_power(nobs1=400, alpha=0.05, power=0.8, ratio=0, alternative="two-sided")
    assert detectable(0.7 / 20) == pytest.approx(effect * 0.7, rel=1e-3)


@pytest.mark.parametrize("share", [0.02, 0.2])
def test_the_true_difference_lies_inside_about_95_times_of_100(share: float) -> None:
    """Documents of three questions that share how hard they are; few or many of them differ between the runs."""
    random = np.random.default_rng(7)
    hits, finds, trials = 0, 0, 200
    for _ in range(trials):
        hard = np.repeat(random.choice([0.0, 2.0], 80), 3)
        differences = random.choice([-1.0, 1.0], 240) * (random.random(240) < share * hard)
        found = paired(differences, np.repeat(np.arange(80), 3), is_binary=True)
        hits += found.low <= 0 <= found.high
        finds += found.p_value < 0.05
    assert 0.9 <= hits / trials <= 1.0
    assert finds / trials <= 0.09


def test_a_true_difference_of_the_detectable_size_is_found_in_about_four_of_five() -> None:
    random = np.random.default_rng(8)
    finds = 0
    for _ in range(200):
        differences = random.choice([-1.0, 0.0, 1.0], 400, p=[0.08, 0.765, 0.155])
        finds += paired(differences, ALONE[:400], is_binary=True).p_value < 0.05
    smallest = paired(random.choice([-1.0, 0.0, 1.0], 400, p=[0.08, 0.765, 0.155]), ALONE[:400], is_binary=True)
    assert smallest.detectable == pytest.approx(0.067, abs=0.01)
    assert 0.8 <= finds / 200 <= 0.97
