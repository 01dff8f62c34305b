"""What several runs scored on the questions of a task, as a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leaderboards.errors import BadStore, ResultsError
from leaderboards.records import ALL, Run
from leaderboards.store import Store

if TYPE_CHECKING:
    import pyarrow as pa


MOST_KEPT = 40
"""Matrices that a store keeps in memory; of twenty runs on ten thousand questions one has 1.6 MB."""


@dataclass(frozen=True)
class Answered:
    """Runs' scores as a matrix (runs, questions), NaN where a run has none; and which questions share a document."""

    scores: NDArray[np.float64]
    groups: NDArray[np.int64]


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
    stamps = tuple((run.run_id, store.place.seen(run.run_id) if run.run_id in files else None) for run in runs)
    kept = store.kept.get((stamps, metric, slice))
    if kept is not None:
        return kept
    try:
        found = _matrix(_columns(store, runs, [*files.values()], metric, slice), runs)
    except BadStore:  # a file that is damaged in its middle, which the store knows from now on
        return answered_by(store, runs, metric, slice)
    while len(store.kept) >= MOST_KEPT:
        store.kept.pop(next(iter(store.kept)), None)
    store.kept[stamps, metric, slice] = found
    return found


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
    questions, documents, values = (np.asarray(columns[name]) for name in ("question", "document", "score"))
    count = np.bincount(rows, minlength=len(runs))
    n = len(rows) // len(runs)
    # Mostly all runs were asked the same questions in the same order; then nothing has to be looked for.
    if (count == n).all() and (rows.reshape(-1, n) == rows[::n, None]).all():
        asked = questions.reshape(-1, n)
        if (asked == asked[0]).all():
            scores = np.empty((len(runs), n))
            scores[rows[::n]] = values.reshape(-1, n)
            return Answered(scores, _numbered(documents[:n]))
    found, first, places = np.unique(questions, return_index=True, return_inverse=True)
    scores = np.full((len(runs), len(found)), np.nan)
    scores[rows, places] = values
    return Answered(scores, _numbered(documents[first]))


def _numbered(documents: NDArray[np.uint64]) -> NDArray[np.int64]:
    return np.unique(documents, return_inverse=True)[1]
