"""Every two runs of a column of the leaderboard on the questions that they share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from leaderboards.answered import Answered, answered_by
from leaderboards.records import ALL, Run, Score, score_of
from leaderboards.significance import FEW, LARGE, interval_of, mcnemar, sign_flips, sign_flips_of_many
from leaderboards.statistics import NOTHING
from leaderboards.store import Store

UNPAIRED = "unpaired, from the standard errors"
"""For metrics of a whole set: as if the runs had answered other questions, which errs on the side of no difference."""

NONE = "none: no standard error"


class Pair(NamedTuple):
    """How much more the second of two runs scored than the first; p is None where nothing can be tested.

    `shares`: whether they answered a question in common, as far as a metric tells which were answered.
    """

    difference: float
    stderr: float | None
    p_value: float | None
    test: str
    shares: bool = True


def of_column(store: Store, runs: Sequence[Run], metric: str, slice: str = ALL) -> Mapping[tuple[int, int], Pair]:
    """Each pair i < j of the runs, by their numbers. All have a score under the metric (METRIC/VARIANT) on the slice."""
    held = {run.run_id: score_of(run, metric, slice) for run in runs}
    answered = answered_by(store, runs, metric, slice)
    if answered is not None and all(answered.add_up) and not np.isnan(answered.scores).any():
        return _all_pairs(answered)
    found: dict[tuple[int, int], Pair] = {}
    for second, later in enumerate(runs):
        for first, earlier in enumerate(runs[:second]):
            pair = None
            if answered is not None and answered.add_up[first] and answered.add_up[second]:
                pair = _shared(answered, first, second)
            if pair is None:
                shares = answered is None or _in_common(answered, first, second).any()
                pair = _unpaired(held[earlier.run_id], held[later.run_id])._replace(shares=bool(shares))
            found[first, second] = pair
    return found


def _shared(answered: Answered, first: int, second: int) -> Pair | None:
    """A pair on the questions that both answered, None where there are none."""
    there = _in_common(answered, first, second)
    if not there.any():
        return None
    return _all_pairs(
        Answered(answered.scores[[first, second]][:, there], np.unique(answered.groups[there], return_inverse=True)[1])
    )[0, 1]


def _in_common(answered: Answered, first: int, second: int) -> NDArray[np.bool_]:
    """Which questions both answered."""
    return ~np.isnan(answered.scores[first] + answered.scores[second])


def _all_pairs(answered: Answered) -> dict[tuple[int, int], Pair]:
    """All pairs of runs that answered the same questions, a row of pairs at a time.

    The standard error is that of a mean of clusters of unequal size (Cochran 1977, section 6.3); where few of them differ,
    or all alike, that of a comparison, which is never 0. The tests are those of `significance.paired`, for many clusters
    the normal approximation of them.
    """
    scores, groups = answered.scores, answered.groups
    runs, n = scores.shape
    sizes = np.bincount(groups).astype(np.float64)
    clusters = len(sizes)
    totals = np.stack([np.bincount(groups, weights=line) for line in scores])
    correction = clusters / (clusters - 1) if clusters > 1 else 1.0
    are_binary = ((scores == 0) | (scores == 1)).all(axis=1) & (clusters == n)
    found: dict[tuple[int, int], Pair] = {}
    for first in range(runs - 1):
        moved = (totals[first + 1 :] - totals[first]).round(9)
        squared = moved * moved
        squares, fourths = squared.sum(axis=1), (squared * squared).sum(axis=1)
        means = moved.sum(axis=1) / n
        spreads = squares - 2 * means * (moved @ sizes) + means**2 * float((sizes**2).sum())
        stderrs = np.sqrt(np.maximum(spreads, 0.0) * correction) / n
        for number, line in enumerate(moved):
            second = first + 1 + number
            if np.count_nonzero(line) < FEW or stderrs[number] < NOTHING:
                stderrs[number] = interval_of((scores[second] - scores[first]).round(9), groups).stderr
            if are_binary[first] and are_binary[second]:
                wins = int((line > 0).sum())
                tested = mcnemar(wins, round(float(squares[number])) - wins)
            elif squares[number] ** 2 >= LARGE * fourths[number] > 0:
                tested = sign_flips_of_many(float(means[number]) * n, float(squares[number]))
            else:
                tested = sign_flips(line)
            found[first, second] = Pair(float(means[number]), float(stderrs[number]), *tested)
    return found


def _unpaired(first: Score | None, second: Score | None) -> Pair:
    assert first is not None and second is not None and first.value is not None and second.value is not None
    are_known = first.stderr is not None and second.stderr is not None
    stderr = math.hypot(first.stderr or 0.0, second.stderr or 0.0) if are_known else None
    return normal(second.value - first.value, stderr)


def normal(difference: float, stderr: float | None) -> Pair:
    """A difference against its standard error, untested without one; an error of 0 is one that nobody knows."""
    from scipy.special import ndtr

    if not stderr:
        return Pair(difference, None, None, NONE)
    return Pair(difference, stderr, float(2 * ndtr(-abs(difference) / stderr)), UNPAIRED)


def tested_error(pair: Pair) -> float | None:
    """A pair's standard error, as large as it must be for the normal test to be no surer than the pair's own was.

    A difference that its own test does not see (p > 0.32) is worth one standard error.
    """
    from scipy.special import ndtri

    if pair.stderr is None or pair.p_value is None:
        return pair.stderr
    return max(pair.stderr, abs(pair.difference) / max(1.0, -float(ndtri(pair.p_value / 2))))
