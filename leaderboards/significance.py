"""Whether a difference between two runs is more than chance: paired tests, Holm's correction, and what a size can show.

scipy.special gives the distributions. scipy.stats and statsmodels hold the same tests, but take a second to import; the
tests of this file compare with them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from leaderboards.statistics import NOTHING, Interval, Z, bootstrap, design_effect, kind_of

Z_POWER = 0.8416212335729143
"""The standard normal's 80 % point."""

FEWEST = 6
"""Questions that must all go one way until a sign test can be sure at 5 %: 2 / 2^6 < 0.05 < 2 / 2^5."""

FEW = 10
"""Clusters that differ, below which a bootstrap draws the same few again and again and its interval is too narrow."""

ENUMERATED = 12
"""Clusters whose signs are all tried: 4,096 ways."""

PARTS = (1, 2, 3, 4, 10, 30)
"""Scores are often multiples of a share of one: VQA accuracy of thirds or tenths."""

LONGEST = 20_000
"""Points of a lattice up to which its distribution is worked out whole."""

LARGE = 200
"""Clusters of equal weight from which on a table of many pairs takes the normal approximation."""

BISECTIONS = 50
"""Until the saddlepoint is known to a float's last digits."""

MCNEMAR = "McNemar, exact"
SIGN_FLIPS = "sign flips, exact"
SADDLEPOINT = "sign flips, saddlepoint"
NORMAL = "sign flips, normal"

AGRESTI_MIN = "Agresti-Min"


class Tested(NamedTuple):
    """A two-sided p-value and the test that gave it."""

    p_value: float
    test: str


class Paired(NamedTuple):
    """The mean of paired differences with its 95 % interval, the kind of that, and test.

    `detectable` is the smallest true difference that as many questions show in four of five repetitions.
    """

    difference: float
    low: float
    high: float
    stderr: float
    interval: str
    p_value: float
    test: str
    wins: int
    losses: int
    ties: int
    n: int
    clusters: int
    detectable: float


def paired(
    differences: NDArray[np.float64],
    groups: NDArray[np.int64],
    *,
    is_binary: bool,
    resampled: Callable[[], Interval] | None = None,
) -> Paired:
    """Differences of the same questions' scores, of which those of a group (0, 1, 2, ...) may depend on each other.

    `is_binary`: both scores of every question were 0 or 1, unweighted. `resampled`: the bootstrap of a figure of which the
    differences are only the questions' first-order shares.
    """
    differences = differences.round(9)
    found = interval_of(differences, groups, resampled)
    totals = np.bincount(groups, weights=differences).astype(np.float64)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    tested = mcnemar(wins, losses) if is_binary and _stand_alone(differences, groups) else sign_flips(totals)
    smallest = detectable(found.stderr)
    if is_binary:
        smallest = max(smallest, FEWEST / len(differences))
    return Paired(
        *found,
        *tested,
        wins,
        losses,
        ties=len(differences) - wins - losses,
        n=len(differences),
        clusters=len(totals),
        detectable=smallest,
    )


def _stand_alone(differences: NDArray[np.float64], groups: NDArray[np.int64]) -> bool:
    """Whether no two questions that differ share a group."""
    return int(np.bincount(groups[differences != 0], minlength=1).max()) <= 1


def interval_of(
    differences: NDArray[np.float64], groups: NDArray[np.int64], resampled: Callable[[], Interval] | None = None
) -> Interval:
    """A bootstrap over clusters; where few of them differ, or all alike, Agresti and Min's (2005) interval, never empty.

    That one adds half a question to each of the four cells of the two runs' results. Scores between 0 and 1 count as
    the largest difference that there is, and the questions as fewer by their design effect, so it errs on the wide side.
    """
    differing = np.unique(groups[differences != 0])
    if len(differing) >= FEW:
        found = resampled() if resampled else bootstrap(differences, groups)
        if found.stderr > NOTHING:
            return found
    scale = float(np.abs(differences).max(initial=0.0)) or 1.0
    size = len(differences) / design_effect(differences, groups) + 2
    moved = np.abs(differences).sum() / scale * (size - 2) / len(differences) + 1
    centre = differences.sum() / scale * (size - 2) / len(differences) / size
    stderr = float(scale * math.sqrt(max(moved - centre**2 * size, 0.0)) / size)
    value, middle = float(differences.mean()), float(scale * centre)
    kind = kind_of(AGRESTI_MIN, groups)
    return Interval(value, min(value, middle - Z * stderr), max(value, middle + Z * stderr), stderr, kind)


def detectable(stderr: float) -> float:
    """The smallest true difference found with 80 % power at 5 %, two-sided (Cohen 1988, section 2; Miller 2024, section 5)."""
    return (Z + Z_POWER) * stderr


def mcnemar(wins: int, losses: int) -> Tested:
    """McNemar's test (1947), exact: among the questions that only one run got right, each is as likely to be either's."""
    from scipy.special import bdtr

    differing = wins + losses
    return Tested(min(1.0, 2 * float(bdtr(min(wins, losses), differing, 0.5))) if differing else 1.0, MCNEMAR)


def sign_flips(totals: NDArray[np.float64]) -> Tested:
    """The permutation test of paired differences by clusters (Fisher 1935, section 21), two-sided.

    Were the runs alike, each cluster's total could as well have the other sign: how often is the sum as far from 0?
    Exact where all signs can be tried, or the totals are multiples of one number; else a saddlepoint approximation.
    """
    moved = np.abs(totals[np.abs(totals) > 1e-9])
    seen = abs(float(totals.sum()))
    if len(moved) == 0:
        return Tested(1.0, SIGN_FLIPS)
    if len(moved) <= ENUMERATED:
        signs = 1 - 2 * (np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1)
        return Tested(float((np.abs(signs @ moved) >= seen - 1e-9).mean()), SIGN_FLIPS)
    for parts in PARTS:
        steps = np.rint(moved * parts)
        if np.abs(steps - moved * parts).max() < 1e-6 and steps.sum() <= LONGEST:
            return Tested(_on_lattice(steps.astype(np.int64), round(seen * parts)), SIGN_FLIPS)
    return Tested(_saddlepoint(moved, seen), SADDLEPOINT)


def _on_lattice(steps: NDArray[np.int64], seen: int) -> float:
    """The share of all sign choices whose sum is at least `seen` from 0.

    The sum's characteristic function is a product of cosines; its Fourier transform is the distribution (Pagano and
    Tritchler 1983).
    """
    longest = int(steps.sum())
    kinds, held = np.unique(steps, return_counts=True)
    # Real and even, so half of the frequencies tell all.
    angles = 2 * np.pi / (2 * longest + 1) * np.arange(longest + 1)
    cosines = [np.cos(angles * kind) for kind in kinds.tolist()]
    waves = np.ones(longest + 1)
    # All powers in one go, bit by bit of their exponents: NumPy's own power costs more than the cosines.
    for bit in reversed(range(int(held.max()).bit_length())):
        waves *= waves
        for cosine, count in zip(cosines, held.tolist(), strict=True):
            if count >> bit & 1:
                waves *= cosine
    shares = np.fft.irfft(waves, 2 * longest + 1)[: longest + 1]
    # Below its own rounding the transform knows nothing.
    return min(1.0, max(2 * float(shares[seen:].sum()), 1e-15)) if seen else 1.0


def _saddlepoint(moved: NDArray[np.float64], seen: float) -> float:
    """Lugannani and Rice's tail (1980) of the sum of randomly signed totals (Robinson 1982).

    Near its middle, where that formula divides by nothing, the normal approximation is used.
    """
    from scipy.special import ndtr

    spread = math.sqrt(float((moved**2).sum()))
    if seen < 0.1 * spread:
        return float(2 * ndtr(-seen / spread))
    longest = float(moved.sum())
    if seen > longest * (1 - 1e-9):
        return 2.0 ** (1 - len(moved))
    point = _tilt(moved, seen, 1 / spread)
    cumulant = float(np.logaddexp(point * moved, -point * moved).sum() - len(moved) * math.log(2))
    root = math.sqrt(max(2 * (point * seen - cumulant), 1e-300))
    scaled = point * math.sqrt(float((moved**2 / np.cosh(np.minimum(point * moved, 300)) ** 2).sum()))
    density = math.exp(-(root**2) / 2) / math.sqrt(2 * math.pi)
    return min(1.0, 2 * (float(ndtr(-root)) + density * (1 / scaled - 1 / root)))


def sign_flips_of_many(total: float, squares: float) -> Tested:
    """The same test's normal approximation, from the sum and the sum of squares of the clusters' totals.

    Randomly signed totals have lighter tails than the normal, so its small p-values are too large rather than too small.
    """
    from scipy.special import ndtr

    return Tested(float(2 * ndtr(-abs(total) / math.sqrt(squares))), NORMAL)


def _tilt(moved: NDArray[np.float64], seen: float, guess: float) -> float:
    """Where the cumulant generating function of the signed sum rises as steeply as the sum that was seen."""
    low, high = 0.0, guess
    while float((moved * np.tanh(high * moved)).sum()) < seen:
        high *= 2
    for _ in range(BISECTIONS):
        point = (low + high) / 2
        if float((moved * np.tanh(point * moved)).sum()) < seen:
            low = point
        else:
            high = point
    return (low + high) / 2


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted so that any false find among all of them has 5 % at most (Holm 1979)."""
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted.tolist()
