"""Score against shots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from leaderboards import curves
from leaderboards.curves import LOG, POWER, fit, of_means
from leaderboards.store import Store
from tests.leaderboards.made import METRIC, finish

SHOTS = np.array([0.0, 1, 2, 4, 8, 16, 32])


def test_a_straight_curve_is_found_exactly() -> None:
    values = 0.3 + 0.04 * np.log2(1 + SHOTS)
    found = fit(SHOTS, values, np.eye(7) * 1e-4)
    assert found is not None and found.formula == LOG
    assert found.parameters == pytest.approx([0.3, 0.04], abs=1e-6)
    assert found.per_doubling == pytest.approx(0.04, abs=1e-6) and found.low < 0.04 < found.high
    assert found.misfit == pytest.approx(0, abs=1e-6) and found.freedom == 5
    value, low, high = found.at(64)
    assert low < value < high and value == pytest.approx(0.3 + 0.04 * np.log2(65))


def test_a_curve_that_flattens_is_a_power_law() -> None:
    values = 0.8 - 0.5 * (1 + SHOTS) ** -1.2
    found = fit(SHOTS, values, np.eye(7) * 1e-6)
    assert found is not None and found.formula == POWER
    assert found.parameters == pytest.approx([0.8, 0.5, 1.2], rel=1e-3)
    assert found.at(1000)[0] == pytest.approx(0.8, abs=1e-2)


def test_a_power_law_needs_to_be_better_by_more_than_its_parameter() -> None:
    random = np.random.default_rng(0)
    chosen = [
        fit(SHOTS, 0.3 + 0.04 * np.log2(1 + SHOTS) + random.normal(0, 0.01, 7), np.eye(7) * 1e-4) for _ in range(100)
    ]
    assert sum(one is not None and one.formula == LOG for one in chosen) > 85


def test_two_points_are_no_curve() -> None:
    assert fit(SHOTS[:2], SHOTS[:2], np.eye(2)) is None


def test_the_slope_holds_the_truth_95_times_of_100_on_shared_questions() -> None:
    """All numbers of shots ask the same questions, some of them hard: their errors go together."""
    random = np.random.default_rng(2)
    shots = np.array([0.0, 4, 8, 16])
    inside, widths, unshared = 0, [], []
    for _ in range(200):
        hard = random.choice([-0.3, 0.3], 300)
        scores = (random.random((4, 300)) < 0.4 + 0.05 * np.log2(1 + shots)[:, None] + hard).astype(float)
        covariance = of_means(scores, np.arange(300))
        found = fit(shots, scores.mean(axis=1), covariance)
        alone = fit(shots, scores.mean(axis=1), np.diag(np.diag(covariance)))
        assert found is not None and alone is not None
        inside += found.low <= 0.05 <= found.high
        widths.append(found.high - found.low)
        unshared.append(alone.high - alone.low)
    assert 0.9 <= inside / 200 <= 0.99
    assert np.mean(widths) < 0.9 * np.mean(unshared)


def test_the_covariance_of_means_is_that_of_repeated_draws() -> None:
    random = np.random.default_rng(4)
    rows = np.stack([random.random((2, 50)).repeat(2, axis=1).round(2) for _ in range(1)])[0]
    rows[1] = 0.5 * rows[0] + 0.5 * rows[1]
    found = of_means(rows, np.repeat(np.arange(50), 2))
    drawn = np.repeat(random.integers(50, size=(20_000, 50)), 2, axis=1)
    drawn = 2 * drawn + np.tile([0, 1], 50)
    means = rows[:, drawn].mean(axis=2)
    assert found == pytest.approx(np.cov(means), rel=0.1)


def test_runs_of_a_store_become_curves_with_their_seeds_as_dots(tmp_path: Path) -> None:
    store = Store(tmp_path)
    hard = np.random.default_rng(0).random(300)
    for shots in (0, 4, 8):
        for seed in range(2):
            noise = np.random.default_rng(seed * 10 + shots).random(300)
            scores = (0.5 * hard + 0.5 * noise < 0.4 + 0.05 * np.log2(1 + shots)).astype(float).tolist()
            finish(store, f"{shots}shots{seed}", {METRIC: scores}, num_fewshot=shots, seed=seed)
    finish(store, "other", {METRIC: [1.0, 0.0]}, model="other", model_digest="other")
    (found,) = curves.shot_curves(store, store.runs())
    assert [point.shots for point in found.points] == [0, 4, 8]
    assert {*found.points[1].runs} == {"4shots0", "4shots1"}
    for point in found.points:
        assert point.value == pytest.approx(np.mean([*point.runs.values()]))
        assert point.low is not None and point.low < point.value < (point.high or 0)
    assert found.fit is not None and found.fit.low > 0


def test_runs_that_are_right_throughout_have_a_curve_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for shots in (0, 4, 8, 16):
        finish(store, f"{shots}shots", {METRIC: [1.0] * 20}, num_fewshot=shots)
    (found,) = curves.shot_curves(store, store.runs())
    assert found.fit is not None and found.fit.per_doubling == pytest.approx(0, abs=1e-9)
    assert found.points[0].low is not None and found.points[0].low < 1


def test_each_way_to_choose_shots_has_a_curve_from_the_same_beginning(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for shots, selection, share in ((0, "random", 0.2), (4, "random", 0.4), (4, "rices", 0.8), (8, "rices", 0.9)):
        facts = {"num_fewshot": shots, "shot_selection": selection}
        finish(
            store, f"{shots}{selection}", {METRIC: [1.0] * int(100 * share) + [0.0] * int(100 - 100 * share)}, **facts
        )
    found = {one.entrant.shots: [(point.shots, point.value) for point in one.points] for one in all_curves(store)}
    assert found == {"random": [(0, 0.2), (4, 0.4)], "rices": [(0, 0.2), (4, 0.8), (8, 0.9)]}


def test_of_repeated_runs_the_newest_is_a_point_as_in_the_leaderboard(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name, shots, seed, right, created in (
        ("none", 0, 0, 1, "2026-01-01"),
        ("old", 4, 0, 2, "2026-01-01"),
        ("new", 4, 0, 8, "2026-01-02"),
        ("seed", 4, 1, 6, "2026-01-01"),
    ):
        scores = [1.0] * right + [0.0] * (10 - right)
        finish(store, name, {METRIC: scores}, num_fewshot=shots, seed=seed, created=created)
    (found,) = all_curves(store)
    assert [{**point.runs} for point in found.points] == [{"none": 0.1}, {"new": 0.8, "seed": 0.6}]


def all_curves(store: Store) -> list[curves.ShotCurve]:
    return curves.shot_curves(store, store.runs())
