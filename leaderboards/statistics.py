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
DRAWN_AT_ONCE = 100_000
"""Numbers that a processor's cache holds."""

KINDS_ARE_FEW = 10
"""Clusters for each kind of them, from which on drawing by kind is faster."""


WILSON = "Wilson"
BOOTSTRAP = "bootstrap"
MOVER = "MOVER, mean of parts"
BY_CLUSTER = "by cluster"


class Interval(NamedTuple):
    """An estimate with its 95 % interval and standard error, and which kind of interval that is."""

    value: float
    low: float
    high: float
    stderr: float
    kind: str = ""


NOTHING = 1e-9
"""A standard error below which a bootstrap drew the same mean every time."""


def interval(scores: Sequence[float], clusters: Sequence[str]) -> Interval | None:
    """The mean score. Scores that are all 0 or 1 get Wilson's interval, others a bootstrap over clusters.

    `clusters` names what questions may share (a picture, a document): questions about one thing are not independent. Where
    all clusters have one mean a bootstrap knows nothing; then shares get Wilson's interval, of as many successes and failures
    as there are clusters, whose variance no other shares exceed. Anything else gets none.
    """
    values = np.asarray(scores, dtype=np.float64)
    groups = _groups(clusters)
    if np.isin(values, (0.0, 1.0)).all():
        found = wilson(float(values.sum()), len(values), design_effect(values, groups))
        return found._replace(kind=kind_of(WILSON, groups))
    found = bootstrap(values, groups)
    if found.stderr > NOTHING:
        return found
    if values.min() < 0 or values.max() > 1:
        return None
    count = int(groups.max()) + 1
    return wilson(found.value * count, count)._replace(kind=kind_of(WILSON, groups))


def kind_of(method: str, groups: NDArray[np.int64]) -> str:
    """The kind of an interval made by a method: also whether what questions share was taken together."""
    return f"{method}, {BY_CLUSTER}" if int(groups.max()) + 1 < len(groups) else method


def wilson(successes: float, n: float, effect: float = 1.0) -> Interval:
    """Wilson's score interval (1927) on the effective sample size n / effect.

    The standard error is half the interval over the normal's 97.5 % point, so that it is never 0.
    """
    size = n / effect
    share = successes / n
    centre = (share + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z / (1 + Z**2 / size) * math.sqrt(share * (1 - share) / size + Z**2 / (4 * size**2))
    # At 0 and 1 an end is the share itself, which rounding must not pass.
    low, high = max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
    return Interval(share, low, high, half / Z, WILSON)


def design_effect(values: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    """How many times larger the mean's variance is for the clusters (Kish 1965, section 5.4); at least 1.

    The variance between cluster totals, with the small-sample factor of G clusters, over that of independent scores. One
    cluster tells nothing of others: its questions count as one.
    """
    n = len(values)
    count = int(groups.max()) + 1
    centred = values - values.mean()
    independent = float((centred**2).sum())
    if count == 1:
        return float(n)
    if count == n or independent == 0:
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
    are_few, are_alike = KINDS_ARE_FEW * len(held) < count, bool((sizes == sizes[0]).all())
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
            part[:] = totals[drawn].sum(axis=1) / (len(values) if are_alike else sizes[drawn].sum(axis=1))
    low, high = np.quantile(means, (0.025, 0.975))
    kind = kind_of(BOOTSTRAP, groups)
    return Interval(float(values.mean()), float(low), float(high), float(means.std(ddof=1)), kind)


def mean_of(parts: Sequence[Interval]) -> Interval:
    """The unweighted mean of independent estimates, from their own intervals.

    Each end is as far from the mean as the parts' ends are from theirs, squared and added (MOVER: Zou, Huang and Zhang
    2009, after Newcombe 1998). So the mean stays on the scale on which its parts stay, and is as lopsided as they are.
    """
    value = sum(part.value for part in parts) / len(parts)
    below = math.hypot(*(max(0.0, part.value - part.low) for part in parts)) / len(parts)
    above = math.hypot(*(max(0.0, part.high - part.value) for part in parts)) / len(parts)
    stderr = math.hypot(*(part.stderr for part in parts)) / len(parts)
    return Interval(value, value - below, value + above, stderr, MOVER)


def around(value: float, stderr: float, n: int, *, is_share: bool) -> tuple[float, float]:
    """The 95 % interval of an estimate with a known standard error, from n questions.

    A share gets Wilson's, on as many questions as would have such an error (Korn and Graubard 1998); at 0 and 1, where
    the error says nothing, on n. Anything else gets the normal one.
    """
    if not is_share or not 0 <= value <= 1:
        return value - Z * stderr, value + Z * stderr
    spread = value * (1 - value)
    size = spread / stderr**2 if spread and stderr else n
    return wilson(value * size, size)[1:3]


def _groups(clusters: Sequence[str]) -> NDArray[np.int64]:
    numbers: defaultdict[str, int] = defaultdict(lambda: len(numbers))
    return np.array([numbers[cluster] for cluster in clusters], dtype=np.int64)
