"""Score against shots: the measured points, and a curve through them that knows that all points share their questions.

Two curves are tried: a + b log2(1 + k), as few-shot results are mostly drawn (Alayrac et al. 2022, figure 2), and the
power law c - d (1 + k)^-g that learning curves follow until they are flat (Hestness et al. 2017, section 3). The second
is taken where its AICc is lower (Burnham and Anderson 2002, section 2.4); that needs five points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leaderboards.answered import answered_by
from leaderboards.entrants import Column, Entrant, entrant
from leaderboards.records import SHARE, Run, Score, score_of
from leaderboards.statistics import Z, around
from leaderboards.store import Store

LOG, POWER = "a + b log2(1 + k)", "c - d (1 + k)^-g"

Curve = Callable[..., Any]

TINY = 1e-12
"""Added to variances, so that runs which answer alike do not make the covariance singular."""


@dataclass(frozen=True)
class Point:
    """The score at a number of shots: the mean of its runs (seeds), with a 95 % interval where that is known."""

    shots: int
    value: float
    low: float | None
    high: float | None
    runs: Mapping[str, float]


@dataclass(frozen=True)
class Fit:
    """A fitted curve. `per_doubling`: what the first doubling of 1 + shots adds (each one, if straight); 95 % interval.

    `misfit` is the sum of squared residuals in standard errors, on `freedom` degrees: far more than that means another shape.
    """

    formula: str
    parameters: Sequence[float]
    covariance: Sequence[Sequence[float]]
    per_doubling: float
    low: float
    high: float
    misfit: float
    freedom: int

    def at(self, shots: float) -> tuple[float, float, float]:
        """The curve's value at a number of shots, with its 95 % band (delta method)."""
        curve, values = CURVES[self.formula], np.array(self.parameters)
        slope = _slopes(curve, shots, values)
        half = Z * math.sqrt(max(0.0, float(slope @ np.array(self.covariance) @ slope)))
        value = float(curve(shots, *values))
        return value, value - half, value + half


@dataclass(frozen=True)
class ShotCurve:
    """One model's points in a column by number of shots, and the curve, None for fewer than three points.

    The entrant's `shots` is the way that they were chosen, on all points but that without any.
    """

    entrant: Entrant
    column: Column
    points: Sequence[Point]
    fit: Fit | None
    unit: str = field(default=SHARE)


def shot_curves(store: Store, runs: Sequence[Run]) -> list[ShotCurve]:
    """The curves of all models and protocols that were run with two or more numbers of shots.

    A run without shots is the beginning of the curve of each way to choose them.
    """
    whole = [run for run in runs if run.status == "complete" and run.scores and run.scores[0].value is not None]
    groups: dict[tuple[Entrant, Column], list[Run]] = {}
    for run in newest(whole):
        groups.setdefault((replace(entrant(run), num_fewshot=0, seed=0), _column(run)), []).append(run)
    for (one, column), held in groups.items():
        if one.shots:
            held.extend(groups.get((replace(one, shots=""), column), ()))
    return [
        _curve(store, one, column, held)
        for (one, column), held in groups.items()
        if len({run.num_fewshot for run in held}) > 1
    ]


def newest(runs: Sequence[Run]) -> list[Run]:
    """Of runs of one row and column, which are repeats and no seeds of each other, the newest."""
    latest: dict[tuple[Entrant, Column], Run] = {}
    for run in sorted(runs, key=lambda run: run.created, reverse=True):
        latest.setdefault((entrant(run), _column(run)), run)
    return [*latest.values()]


def _column(run: Run) -> Column:
    head = run.scores[0]
    return Column(run.task, run.split, head.metric, head.variant, head.slice)


def _curve(store: Store, one: Entrant, column: Column, runs: Sequence[Run]) -> ShotCurve:
    ordered = sorted(runs, key=lambda run: (run.num_fewshot, run.seed))
    numbers = sorted({run.num_fewshot for run in ordered})
    scores = [_score(run, column) for run in ordered]
    values = np.array([score.value or 0.0 for score in scores])
    # A row a number of shots: the mean of its runs.
    means = np.array([[float(run.num_fewshot == number) for run in ordered] for number in numbers])
    means /= means.sum(axis=1, keepdims=True)
    covariance = _covariance(store, ordered, column, scores)
    at = means @ values
    between = None if covariance is None else means @ covariance @ means.T
    points = [
        _point(number, float(value), None if between is None else float(between[place, place]), ordered, scores)
        for place, (number, value) in enumerate(zip(numbers, at.tolist(), strict=True))
    ]
    found = None if between is None else fit(np.array(numbers, np.float64), at, between)
    return ShotCurve(one, column, points, found, scores[0].unit)


def _score(run: Run, column: Column) -> Score:
    found = score_of(run, column.name, column.slice)
    assert found is not None
    return found


def _point(shots: int, value: float, variance: float | None, runs: Sequence[Run], scores: Sequence[Score]) -> Point:
    held = {run.run_id: score for run, score in zip(runs, scores, strict=True) if run.num_fewshot == shots}
    first = next(iter(held.values()))
    low, high = None, None
    if variance is not None:
        low, high = around(value, math.sqrt(max(variance, 0.0)), first.n, is_share=first.unit == SHARE)
    return Point(shots, value, low, high, {run_id: score.value or 0.0 for run_id, score in held.items()})


def _covariance(
    store: Store, runs: Sequence[Run], column: Column, scores: Sequence[Score]
) -> NDArray[np.float64] | None:
    """The runs' covariance on their shared questions, by document; without those the squared standard errors alone."""
    answered = answered_by(store, runs, column.name, column.slice)
    if answered is not None:
        there = ~np.isnan(answered.scores).any(axis=0)
        if all(answered.add_up) and int(there.sum()) > 1:
            return of_means(answered.scores[:, there], np.unique(answered.groups[there], return_inverse=True)[1])
    errors = [score.stderr for score in scores]
    if any(error is None for error in errors):
        return None
    return np.diag([(error or 0.0) ** 2 for error in errors])


def of_means(scores: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """The covariance of means over the same questions, with their documents as clusters (Cochran 1977, section 6.3).

    A run that is right or wrong throughout has no variance of its own; it gets what one question would make.
    """
    n = scores.shape[1]
    clusters = int(groups.max()) + 1
    centred = scores - scores.mean(axis=1, keepdims=True)
    totals = np.stack([np.bincount(groups, weights=line, minlength=clusters) for line in centred])
    found = totals @ totals.T / n**2 * (clusters / (clusters - 1) if clusters > 1 else 1.0)
    return found + np.diag(np.where(np.diag(found) < TINY, 1 / n**2, TINY))


def fit(shots: NDArray[np.float64], values: NDArray[np.float64], covariance: NDArray[np.float64]) -> Fit | None:
    """The curve through the points by generalised least squares; None where there are fewer than three."""
    if len(shots) < 3:
        return None
    straight = _fitted(LOG, shots, values, covariance, [float(values[0]), float(values[-1] - values[0]) / 4])
    if len(shots) < 5 or straight is None:
        return straight
    top, step = float(values[-1]), float(values[-1] - values[0]) or 0.01
    bent = _fitted(POWER, shots, values, covariance, [top + 0.1 * step, 1.1 * step, 0.7])
    return bent if bent is not None and _aicc(bent, len(shots)) < _aicc(straight, len(shots)) else straight


def _fitted(
    formula: str,
    shots: NDArray[np.float64],
    values: NDArray[np.float64],
    covariance: NDArray[np.float64],
    guess: list[float],
) -> Fit | None:
    from scipy.optimize import OptimizeWarning, curve_fit

    curve = CURVES[formula]
    try:
        found, spread = curve_fit(curve, shots, values, guess, covariance, absolute_sigma=True, maxfev=20_000)
    except (RuntimeError, OptimizeWarning, np.linalg.LinAlgError):
        return None  # the points say nothing of such a curve
    if not np.isfinite(spread).all() or (formula == POWER and found[2] <= 0):
        return None
    residuals = values - curve(shots, *found)
    misfit = float(residuals @ np.linalg.solve(covariance, residuals))
    rise = float(curve(1.0, *found) - curve(0.0, *found))
    slope = _slopes(curve, 1.0, found) - _slopes(curve, 0.0, found)
    half = Z * math.sqrt(max(0.0, float(slope @ spread @ slope)))
    return Fit(
        formula, found.tolist(), spread.tolist(), rise, rise - half, rise + half, misfit, len(shots) - len(found)
    )


def _log(shots: Any, a: float, b: float) -> Any:
    return a + b * np.log2(1 + shots)


def _power(shots: Any, c: float, d: float, g: float) -> Any:
    return c - d * (1 + shots) ** -g


CURVES: Mapping[str, Curve] = {LOG: _log, POWER: _power}


def _slopes(curve: Curve, shots: float, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """How the curve's value changes with each of its parameters."""
    steps = np.eye(len(values)) * 1e-6
    return np.array([(curve(shots, *(values + step)) - curve(shots, *(values - step))) / 2e-6 for step in steps])


def _aicc(found: Fit, points: int) -> float:
    size = len(found.parameters)
    room = points - size - 1
    return found.misfit + 2 * size + (2 * size * (size + 1) / room if room > 0 else math.inf)
