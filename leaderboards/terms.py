"""Figures that are no mean over questions, worked out anew from what each question adds to them, of any questions.

Such a figure is the sum of ratios of sums, `Term`: F1, precision and recall, MME's points; or a mean over other values than
the scores, like a slice's CIDEr. A score that is the mean of slices is the mean of their ratios.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from leaderboards.statistics import BOOTSTRAP, BOOTSTRAP_SEED, DRAWN_AT_ONCE, RESAMPLES, Interval, bootstrap, kind_of

Matrix = NDArray[np.float64]


class Terms(NamedTuple):
    """A run's terms one after the other: the number of the question that each is of, its group's name, and its figures."""

    of: NDArray[np.int64]
    group: NDArray[np.object_]
    above: Matrix
    below: Matrix


class Ratios(NamedTuple):
    """A run's questions (n) and ratios (G): what each question adds to each ratio, `above` and `below` (n, G).

    The figure is the sum of the ratios, each with its weight (G,).
    """

    above: Matrix
    below: Matrix
    weights: Matrix

    @property
    def value(self) -> float:
        """The figure; NaN where a ratio divides by nothing."""
        return float(_ratios(self.above.sum(axis=0), self.below.sum(axis=0)) @ self.weights)

    def of(self, questions: NDArray[np.bool_]) -> Ratios:
        """The same on some of the questions."""
        return Ratios(self.above[questions], self.below[questions], self.weights)


def linear(held: Ratios) -> Matrix:
    """Each question's share (n,): their mean is the figure, their spread its first-order spread (Cochran 1977, section 6.4)."""
    below = held.below.sum(axis=0)
    each = held.above - _ratios(held.above.sum(axis=0), below) * held.below
    return held.value + len(each) * (_ratios(each, below) @ held.weights)


def moved(a: Ratios, b: Ratios) -> Matrix:
    """Each question's share (n,) in the difference of B's figure and A's, which is their mean; 0 where both answered alike.

    Both are linearised at the ratio of the two runs' sums. That ratio stays as it is when a question's two answers are
    exchanged, so that flipping the shares' signs is the permutation test of the exchanged runs.
    """
    below_a, below_b = a.below.sum(axis=0), b.below.sum(axis=0)
    pooled = _ratios(a.above.sum(axis=0) + b.above.sum(axis=0), below_a + below_b)
    each = (b.above - a.above) - pooled * (b.below - a.below)
    harmonic = _ratios(2 * below_a * below_b, below_a + below_b)
    return len(each) * (_ratios(each, harmonic) @ a.weights)


def resampled(a: Ratios, b: Ratios, groups: NDArray[np.int64]) -> Interval:
    """Percentile bootstrap of the difference over clusters of questions: both figures are worked out anew in each resample.

    Resamples in which a figure is not defined are left out; where that are most (a category of one picture), the shares alone
    are drawn.
    """
    totals = [_totals(part, groups) for part in (a.above, a.below, b.above, b.below)]
    count = len(totals[0])
    random = np.random.default_rng(BOOTSTRAP_SEED)
    found = np.empty(RESAMPLES)
    at_once = max(1, DRAWN_AT_ONCE // count)
    for first in range(0, RESAMPLES, at_once):
        part = found[first : first + at_once]
        drawn = random.integers(count, size=(len(part), count)) + count * np.arange(len(part))[:, None]
        times = np.bincount(drawn.ravel(), minlength=len(part) * count).reshape(len(part), count).astype(np.float64)
        above_a, below_a, above_b, below_b = (times @ one for one in totals)
        part[:] = (_ratios(above_b, below_b) - _ratios(above_a, below_a)) @ a.weights
    found = found[np.isfinite(found)]
    if len(found) < RESAMPLES // 2:
        return bootstrap(moved(a, b), groups)
    low, high = np.quantile(found, (0.025, 0.975))
    kind = kind_of(BOOTSTRAP, groups)
    return Interval(b.value - a.value, float(low), float(high), float(found.std(ddof=1)), kind)


def _totals(part: Matrix, groups: NDArray[np.int64]) -> Matrix:
    """Sums by cluster (C, G)."""
    return np.stack([_sums(groups, column) for column in part.T], axis=1)


def _sums(of: NDArray[np.int64], values: Matrix, least: int = 0) -> Matrix:
    return np.bincount(of, values, least).astype(np.float64, copy=False)


def _ratios(above: Matrix, below: Matrix) -> Matrix:
    with np.errstate(divide="ignore", invalid="ignore"):
        return above / below


def ratios(questions: int, runs: Sequence[Terms], part: NDArray[np.bool_]) -> list[Ratios]:
    """Each run's ratios over a part of the questions, those in which any run has a term."""
    names, codes = np.unique(np.concatenate([run.group for run in runs]), return_inverse=True)
    ends = np.cumsum([len(run.group) for run in runs])[:-1]
    held = [*zip(runs, np.split(codes, ends), strict=True)]
    there = np.any([np.bincount(group[part[run.of]], minlength=len(names)) > 0 for run, group in held], axis=0)

    def summed(run: Terms, group: NDArray[np.int64], values: Matrix) -> Matrix:
        sums = _sums(run.of * len(names) + group, values, questions * len(names))
        return sums.reshape(questions, len(names))[:, there] * part[:, None]

    weights = np.ones(int(there.sum()))
    return [Ratios(summed(run, group, run.above), summed(run, group, run.below), weights) for run, group in held]


def mean_of(parts: Sequence[Ratios]) -> Ratios:
    """The mean of several parts' figures as one."""
    above, below = (np.concatenate([part[place] for part in parts], axis=1) for place in (0, 1))
    return Ratios(above, below, np.concatenate([part.weights for part in parts]) / len(parts))
