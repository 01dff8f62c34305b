"""What several runs scored on the questions of a task, as a matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from leaderboards import terms
from leaderboards.errors import BadStore, ResultsError
from leaderboards.records import ALL, Run, Score, parts_of, score_of
from leaderboards.store import Store

if TYPE_CHECKING:
    import pyarrow as pa


MOST_KEPT = 40
"""Matrices that a store keeps in memory; of twenty runs on ten thousand questions one has 1.6 MB."""


@dataclass(frozen=True)
class Answered:
    """Runs' scores as a matrix (runs, questions), NaN where a run has none; and which questions share a document.

    `add_up`: the runs whose score is the mean of their line. Of a figure that is no mean of scores the line holds each
    question's share in it (`terms.linear`).
    """

    scores: NDArray[np.float64]
    groups: NDArray[np.int64]
    add_up: Sequence[bool] = ()


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
        found = _matrix(_columns(store, runs, [*files.values()], metric, slice), runs, metric, slice)
        if not all(found.add_up):
            shares = _shares(store, runs, [*files.values()], metric, slice)
            found = shares if sum(shares.add_up) > sum(found.add_up) else found
    except BadStore:  # a file that is damaged in its middle, which the store knows from now on
        return answered_by(store, runs, metric, slice)
    while len(store.kept) >= MOST_KEPT:
        store.kept.pop(next(iter(store.kept)), None)
    store.kept[stamps, metric, slice] = found
    return found


def _is_mean(score: Score | None, values: NDArray[np.float64]) -> bool:
    """Whether a score is the mean of the questions' scores."""
    known = values[~np.isnan(values)]
    return (
        score is not None
        and score.value is not None
        and len(known) > 0
        and math.isclose(score.value, float(known.mean()), rel_tol=1e-9, abs_tol=1e-9)
    )


def _columns(store: Store, runs: Sequence[Run], files: Sequence[str], metric: str, slice: str) -> pa.Table:
    parts = next((run.mean_of for run in runs if run.mean_of), ())
    if slice != ALL:
        found = store.ask("scores_in_slice", files, metric=metric, slice=slice)
    elif parts:
        found = store.ask("scores_by_part", files, metric=metric, parts=list(parts))
    else:
        found = store.ask("scores", files, metric=metric)
    return found.to_arrow_table().combine_chunks()


def _matrix(columns: pa.Table, runs: Sequence[Run], metric: str, slice: str) -> Answered:
    rows = _numbers_of(columns, runs)
    questions, documents, values = (np.asarray(columns[name]) for name in ("question", "document", "score"))
    scores, groups = _lines(rows, questions, documents, values, len(runs))
    heads = (score_of(run, metric, slice) for run in runs)
    return Answered(scores, groups, [_is_mean(score, line) for score, line in zip(heads, scores, strict=True)])


def _numbers_of(columns: pa.Table, runs: Sequence[Run]) -> NDArray[np.int64]:
    """The number of the run of each line."""
    names = columns["run_id"].dictionary_encode().combine_chunks()
    numbers = {run.run_id: number for number, run in enumerate(runs)}
    return np.array([numbers[name] for name in names.dictionary.to_pylist()], np.int64)[np.asarray(names.indices)]


def _lines(
    rows: NDArray[np.int64],
    questions: NDArray[np.uint64],
    documents: NDArray[np.uint64],
    values: NDArray[np.float64],
    runs: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores by run and question, and the number of each question's document."""
    count = np.bincount(rows, minlength=runs)
    n = len(rows) // runs
    # Mostly all runs were asked the same questions in the same order; then nothing has to be looked for.
    if n and (count == n).all() and (rows.reshape(-1, n) == rows[::n, None]).all():
        asked = questions.reshape(-1, n)
        if (asked == asked[0]).all():
            scores = np.empty((runs, n))
            scores[rows[::n]] = values.reshape(-1, n)
            return scores, _numbered(documents[:n])
    found, first, places = np.unique(questions, return_index=True, return_inverse=True)
    scores = np.full((runs, len(found)), np.nan)
    scores[rows, places] = values
    return scores, _numbered(documents[first])


def _shares(store: Store, runs: Sequence[Run], files: Sequence[str], metric: str, slice: str) -> Answered:
    """Each question's share in a figure that is no mean of scores."""
    parts = next((held for run in runs if (held := parts_of(run, metric))), ()) if slice == ALL else ()
    params = {"metric": metric, "slice": slice, "parts": list(parts)}
    columns = store.ask("terms", files, **params).to_arrow_table().combine_chunks()
    rows = _numbers_of(columns, runs)
    found, first, of = np.unique(np.asarray(columns["question"]), return_index=True, return_inverse=True)
    names = columns["part"].to_numpy(zero_copy_only=False)
    is_term = np.asarray(columns["group"].is_valid())
    groups = columns["group"].to_numpy(zero_copy_only=False)
    above, below = (columns[name].to_numpy() for name in ("above", "below"))
    of_run = [is_term & (rows == number) for number in range(len(runs))]
    told = [terms.Terms(of[held], groups[held], above[held], below[held]) for held in of_run]
    masks = [np.isin(found, found[of[names == part]]) for part in parts] or [np.ones(len(found), bool)]
    asked = np.zeros((len(runs), len(found)), bool)
    asked[rows, of] = True
    asked &= np.any(masks, axis=0)
    scores = np.full(asked.shape, np.nan)
    by_part = [terms.ratios(len(found), told, mask) for mask in masks]
    for number, there in enumerate(asked):
        scores[number, there] = terms.linear(terms.mean_of([part[number] for part in by_part]).of(there))
    heads = [score_of(run, metric, slice) for run in runs]
    are_known = [score is not None and score.value is not None for score in heads]
    add_up = [
        are_known[number] and len(told[number].of) > 0 and bool(np.isfinite(scores[number, asked[number]]).all())
        for number in range(len(runs))
    ]
    return Answered(scores, _numbered(np.asarray(columns["document"])[first]), add_up)


def _numbered(documents: NDArray[np.uint64]) -> NDArray[np.int64]:
    return np.unique(documents, return_inverse=True)[1]
