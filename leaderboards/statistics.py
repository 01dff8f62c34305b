"""Intervals that stay honest near 0 and 1, and where questions share a picture."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Z = 1.959963984540054
"""The standard normal's 97.5 % point."""

RESAMPLES = 2_000
BOOTSTRAP_SEED = 0
DRAWN_AT_ONCE = 500_000
KINDS_ARE_FEW = 10
"""Clusters for each kind of them, from which on drawing by kind is faster."""


class Interval(NamedTuple):
    """An estimate with its 95 % interval and standard error."""

    value: float
    low: float
    high: float
    stderr: float


def interval(scores: Sequence[float], clusters: Sequence[str]) -> Interval:
    """The mean score. Scores that are all 0 or 1 get Wilson's interval, others a bootstrap over clusters.

    `clusters` names what questions may share (a picture, a document): questions about one thing are not independent.
    """
    values = np.asarray(scores, dtype=np.float64)
    groups = _groups(clusters)
    if np.isin(values, (0.0, 1.0)).all():
        return wilson(float(values.sum()), len(values), design_effect(values, groups))
    return bootstrap(values, groups)


def wilson(successes: float, n: int, effect: float = 1.0) -> Interval:
    """Wilson's score interval (1927) on the effective sample size n / effect.

    The standard error is half the interval over the normal's 97.5 % point, so that it is never 0.
    """
    size = n / effect
    share = successes / n
    centre = (share + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z / (1 + Z**2 / size) * math.sqrt(share * (1 - share) / size + Z**2 / (4 * size**2))
    # At 0 and 1 an end is the share itself, which rounding must not pass.
    return Interval(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)), half / Z)


def design_effect(values: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    """How many times larger the mean's variance is for the clusters (Kish 1965, section 5.4); at least 1.

    The variance between cluster totals, with the small-sample factor of G clusters, over that of independent scores.
    """
    n = len(values)
    count = int(groups.max()) + 1
    centred = values - values.mean()
    independent = float((centred**2).sum())
    if count == n or count < 2 or independent == 0:
        return 1.0
    totals = np.bincount(groups, weights=centred)
    return max(1.0, float((totals**2).sum()) / independent * count / (count - 1))


def bootstrap(values: NDArray[np.float64], groups: NDArray[np.int64]) -> Interval:
    """Percentile bootstrap of the mean over clusters (Efron 1979), from a fixed seed.

    Where scores take few values, clusters with the same total and size are drawn together, as how many of them a
    resample holds: the same distribution, in a hundredth of the time.
    """
    totals, sizes = np.bincount(groups, weights=values), np.bincount(groups)
    count = len(totals)
    kinds, held = np.unique(np.stack([totals, sizes]), axis=1, return_counts=True)
    are_few = KINDS_ARE_FEW * len(held) < count
    random = np.random.default_rng(BOOTSTRAP_SEED)
    means = np.empty(RESAMPLES)
    at_once = max(1, DRAWN_AT_ONCE // (len(held) if are_few else count))
    for first in range(0, RESAMPLES, at_once):
        part = means[first : first + at_once]
        if are_few:
            drawn = random.multinomial(count, held / count, size=len(part))
            part[:] = (drawn @ kinds[0]) / (drawn @ kinds[1])
        else:
            drawn = random.integers(count, size=(len(part), count))
            part[:] = totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(values.mean()), float(low), float(high), float(means.std(ddof=1)))


def mean_of(parts: Sequence[Interval]) -> Interval:
    """The unweighted mean of independent parts, with a normal interval from their standard errors, kept within 0..1."""
    value = sum(part.value for part in parts) / len(parts)
    stderr = math.sqrt(sum(part.stderr**2 for part in parts)) / len(parts)
    low, high = value - Z * stderr, value + Z * stderr
    return Interval(value, max(0.0, low) if value >= 0 else low, min(1.0, high) if value <= 1 else high, stderr)


def _groups(clusters: Sequence[str]) -> NDArray[np.int64]:
    numbers: defaultdict[str, int] = defaultdict(lambda: len(numbers))
    return np.array([numbers[cluster] for cluster in clusters], dtype=np.int64)
