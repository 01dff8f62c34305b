"""Every two runs of a column of the leaderboard on the questions that they share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from leaderboards.errors import BadStore, ResultsError
from leaderboards.records import ALL, Run, Score
from leaderboards.significance import Tested, mcnemar, sign_flips
from leaderboards.store import Store

if TYPE_CHECKING:
    import pyarrow as pa

UNPAIRED = "unpaired, from the standard errors"
"""For metrics of a whole set: as if the runs had answered other questions, which errs on the side of no difference."""

NONE = "none: no standard error"


class Pair(NamedTuple):
    """How much more the second of two runs scored than the first; p is None where nothing can be tested."""

    difference: float
    stderr: float | None
    p_value: float | None
    test: str


@dataclass(frozen=True)
class Answered:
    """Runs' scores as a matrix (runs, questions), NaN where a run has none; and which questions share a document."""

    scores: NDArray[np.float64]
    groups: NDArray[np.int64]


def of_column(store: Store, runs: Sequence[Run], metric: str, slice: str = ALL) -> Mapping[tuple[int, int], Pair]:
    """Each pair i < j of the runs, by their numbers. All have a score under the metric (METRIC/VARIANT) on the slice."""
    held = {run.run_id: score_of(run, metric, slice) for run in runs}
    answered = answered_by(store, runs, metric, slice)
    are_means = [
        answered is not None and is_mean(held[run.run_id], answered.scores[number]) for number, run in enumerate(runs)
    ]
    found: dict[tuple[int, int], Pair] = {}
    for second, later in enumerate(runs):
        for first, earlier in enumerate(runs[:second]):
            pair = None
            if answered is not None and are_means[first] and are_means[second]:
                pair = _paired(answered, first, second)
            found[first, second] = pair or _unpaired(held[earlier.run_id], held[later.run_id])
    return found


def score_of(run: Run, metric: str, slice: str = ALL) -> Score | None:
    """A run's score under METRIC/VARIANT on a slice."""
    return next((one for one in run.scores if f"{one.metric}/{one.variant}" == metric and one.slice == slice), None)


def answered_by(store: Store, runs: Sequence[Run], metric: str, slice: str) -> Answered | None:
    """The runs' scores, None where there are no two to compare. Runs whose samples cannot be read have none."""
    files: dict[str, str] = {}
    for run in runs:
        try:
            files[run.run_id] = store.file_of(run.run_id)
        except ResultsError:
            continue  # named by the store's problems
    if len(files) < 2:
        return None
    try:
        return _matrix(_columns(store, runs, [*files.values()], metric, slice), runs)
    except BadStore:  # a file that is damaged in its middle, which the store knows from now on
        return answered_by(store, runs, metric, slice)


def _columns(store: Store, runs: Sequence[Run], files: Sequence[str], metric: str, slice: str) -> pa.Table:
    parts = next((run.mean_of for run in runs if run.mean_of), ())
    if slice != ALL:
        found = store.ask("scores_in_slice", files, metric=metric, slice=slice)
    elif parts:
        found = store.ask("scores_by_part", files, metric=metric, parts=list(parts))
    else:
        found = store.ask("scores", files, metric=metric)
    return found.to_arrow_table().combine_chunks()


def _matrix(columns: pa.Table, runs: Sequence[Run]) -> Answered:
    names = columns["run_id"].dictionary_encode().combine_chunks()
    numbers = {run.run_id: number for number, run in enumerate(runs)}
    rows = np.array([numbers[name] for name in names.dictionary.to_pylist()], np.int64)[np.asarray(names.indices)]
    questions, first, places = np.unique(np.asarray(columns["question"]), return_index=True, return_inverse=True)
    scores = np.full((len(runs), len(questions)), np.nan)
    scores[rows, places] = np.asarray(columns["score"])
    groups = np.unique(np.asarray(columns["document"])[first], return_inverse=True)[1]
    return Answered(scores, groups)


def is_mean(score: Score | None, values: NDArray[np.float64]) -> bool:
    """Whether a score is the mean of the questions' scores."""
    known = values[~np.isnan(values)]
    return (
        score is not None
        and score.value is not None
        and len(known) > 0
        and math.isclose(score.value, float(known.mean()), rel_tol=1e-9, abs_tol=1e-9)
    )


def _paired(answered: Answered, first: int, second: int) -> Pair | None:
    """The pair's test on the questions that both answered, None where there are none."""
    left, right = answered.scores[first], answered.scores[second]
    there = ~(np.isnan(left) | np.isnan(right))
    n = int(there.sum())
    if not n:
        return None
    left, right, groups = left[there], right[there], answered.groups[there]
    differences = (right - left).round(9)
    totals = np.bincount(groups, weights=differences).astype(np.float64)
    sizes = np.bincount(groups)
    mean = float(differences.mean())
    # The variance of a mean of clusters of unequal size (Cochran 1977, section 6.3).
    count = int((sizes > 0).sum())
    spread = float(((totals - mean * sizes) ** 2).sum()) * (count / (count - 1) if count > 1 else 1.0)
    return Pair(mean, math.sqrt(spread) / n, *_tested(differences, groups, left, right, totals))


def _tested(
    differences: NDArray[np.float64],
    groups: NDArray[np.int64],
    left: NDArray[np.float64],
    right: NDArray[np.float64],
    totals: NDArray[np.float64],
) -> Tested:
    """As in `significance.paired`: McNemar's where nothing is shared, else sign flips of clusters."""
    moved = differences != 0
    is_binary = bool((((left == 0) | (left == 1)) & ((right == 0) | (right == 1))).all())
    if is_binary and int(np.bincount(groups[moved], minlength=1).max()) <= 1:
        wins = int((differences > 0).sum())
        return mcnemar(wins, int(moved.sum()) - wins)
    return sign_flips(totals)


def _unpaired(first: Score | None, second: Score | None) -> Pair:
    assert first is not None and second is not None and first.value is not None and second.value is not None
    are_known = first.stderr is not None and second.stderr is not None
    stderr = math.hypot(first.stderr or 0.0, second.stderr or 0.0) if are_known else None
    return normal(second.value - first.value, stderr)


def normal(difference: float, stderr: float | None) -> Pair:
    """A difference against its standard error, untested without one."""
    from scipy.special import ndtr

    if stderr is None:
        return Pair(difference, None, None, NONE)
    p_value = float(2 * ndtr(-abs(difference) / stderr)) if stderr else float(difference == 0)
    return Pair(difference, stderr, p_value, UNPAIRED)
