"""What the pages ask of the samples: only what is visible is read, by the queries in `queries/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import streamlit as st

from leaderboards.errors import BadStore, ResultsError, UnknownRun
from leaderboards.store import Store

QUERIES = Path(__file__).parent / "queries"

LISTED = 200
"""Questions in a list at a time."""

SHOWN_CHARACTERS = 2_000
"""Where a text is cut until the whole is asked for."""

MOST_CHARACTERS = 200_000
"""Where a text is cut in any case; the file holds the rest."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Filter:
    """Which questions of a run are wanted. `verdict` is one of `VERDICTS`; `kind` an error's or a reason for no reading."""

    metric: str
    verdict: str = ""
    slice: str = ""
    value: str = ""
    kind: str = ""
    text: str = ""
    low: float | None = None
    high: float | None = None
    short: int | None = None
    long: int | None = None


VERDICTS = {
    "": "all",
    "right": "right",
    "part": "in part",
    "wrong": "wrong",
    "unread": "unreadable",
    "error": "no answer",
}


def listed(store: Store, run_id: str, wanted: Filter, skip: int = 0) -> list[Row]:
    """At most `LISTED` questions of a run, from the one numbered `skip` on; `found` in each says how many there are.

    Raises `BadStore` where its samples cannot be read.
    """
    return _ask(store, "questions", [run_id], most=LISTED, skip=skip, **asdict(wanted))


def one(store: Store, run_id: str, sample_id: str, *, whole: bool = False) -> Row | None:
    """A question with all that was recorded of it; texts are cut unless the `whole` is asked for."""
    most = MOST_CHARACTERS if whole else SHOWN_CHARACTERS + 1
    rows = _ask(store, "question", [run_id], sample=sample_id, most=most, longest=MOST_CHARACTERS)
    return rows[0] if rows else None


def others(store: Store, run_ids: Sequence[str], sample_id: str, metric: str) -> list[Row]:
    """What other runs answered to a question."""
    return _ask(store, "other_answers", _sound(store, run_ids), sample=sample_id, metric=metric)


def pictured(store: Store, run_id: str, sample_ids: Sequence[str]) -> dict[str, Row]:
    """The pictures of some of a run's questions, by question."""
    return {row["sample_id"]: row for row in _ask(store, "pictured", [run_id], samples=tuple(sample_ids))}


def faults(store: Store, run_ids: Sequence[str]) -> list[Row]:
    """Kinds of errors and of unreadable answers by run."""
    return _ask(store, "faults", _sound(store, run_ids))


def _sound(store: Store, run_ids: Sequence[str]) -> list[str]:
    """The runs whose samples can be read; the head of each page names the others."""
    found: list[str] = []
    for run_id in run_ids:
        try:
            store.file_of(run_id)
        except ResultsError:
            continue
        found.append(run_id)
    return found


def _ask(store: Store, name: str, run_ids: Sequence[str], **parameters: object) -> list[Row]:
    """The rows of a query over the samples of these runs; none of those that have no samples yet."""
    records = store.place.records()
    there = {run_id: records[run_id] for run_id in run_ids if run_id in records}
    files = tuple(_files(store, there))
    if not files:
        return []
    return _answered(name, files, tuple(there.items()), tuple(parameters.items()), store)


def _files(store: Store, run_ids: Mapping[str, object]) -> list[str]:
    found: list[str] = []
    for run_id in run_ids:
        try:
            found.append(store.file_of(run_id))
        except UnknownRun:
            continue
    return found


@st.cache_data(max_entries=500, show_spinner=False)
def _answered(
    name: str,
    files: Sequence[str],
    changed: Sequence[tuple[str, object]],
    parameters: Sequence[tuple[str, Any]],
    _store: Store,
) -> list[Row]:
    given = {key: [*value] if isinstance(value, tuple) else value for key, value in parameters}
    try:
        with _store.place.connect() as connection:
            found = connection.execute(_query(name), {"files": [*files], **given})
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    except duckdb.Error as error:
        where = files[0] if len(files) == 1 else f"{len(files)} files, the first {files[0]}"
        raise BadStore(f"{where}: not readable ({str(error).splitlines()[0]})") from None


@cache
def _query(name: str) -> str:
    return (QUERIES / f"{name}.sql").read_text(encoding="utf-8")
