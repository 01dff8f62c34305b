"""What the pages ask of the samples: only what is visible is read, by the queries in `queries/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import streamlit as st

from leaderboards.errors import BadStore

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


def listed(path: Path, run_id: str, wanted: Filter, skip: int = 0) -> list[Row]:
    """At most `LISTED` questions of a run, from the one numbered `skip` on; `found` in each says how many there are."""
    return _ask("questions", (file(path, run_id),), most=LISTED, skip=skip, **asdict(wanted))


def one(path: Path, run_id: str, sample_id: str, *, whole: bool = False) -> Row | None:
    """A question with all that was recorded of it; texts are cut unless the `whole` is asked for."""
    # The prompt holds marks for its pictures, which must not be cut with the rest.
    most = MOST_CHARACTERS if whole else SHOWN_CHARACTERS + 1
    rows = _ask("question", (file(path, run_id),), sample=sample_id, most=most)
    return rows[0] if rows else None


def others(path: Path, run_ids: Sequence[str], sample_id: str, metric: str) -> list[Row]:
    """What other runs answered to a question."""
    files = tuple(file(path, one) for one in run_ids)
    return _ask("other_answers", files, sample=sample_id, metric=metric) if run_ids else []


def prompts(path: Path, run_ids: Sequence[str], sample_ids: Sequence[str]) -> dict[tuple[str, str], str]:
    """The beginning of each prompt by run and question."""
    files = tuple(file(path, one) for one in run_ids)
    rows = _ask("prompts", files, samples=tuple(sample_ids)) if sample_ids else []
    return {(row["run_id"], row["sample_id"]): row["prompt"] for row in rows}


def faults(path: Path, run_ids: Sequence[str]) -> list[Row]:
    """Kinds of errors and of unreadable answers by run."""
    return _ask("faults", tuple(file(path, one) for one in run_ids)) if run_ids else []


def file(path: Path, run_id: str) -> str:
    """Where a run's samples lie."""
    return str(path / "runs" / run_id / "samples.parquet")


def _ask(name: str, files: tuple[str, ...], **parameters: object) -> list[Row]:
    there = {one: Path(one).stat().st_mtime_ns for one in files if Path(one).is_file()}
    return _answered(name, tuple(there), tuple(there.values()), tuple(parameters.items())) if there else []


@st.cache_data(max_entries=500, show_spinner=False)
def _answered(
    name: str, files: Sequence[str], changed: Sequence[int], parameters: Sequence[tuple[str, Any]]
) -> list[Row]:
    try:
        with duckdb.connect() as connection:
            given = {key: [*value] if isinstance(value, tuple) else value for key, value in parameters}
            found = connection.execute(_query(name), {"files": [*files], **given})
            names = [column[0] for column in found.description or ()]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    except duckdb.Error as error:
        where = files[0] if len(files) == 1 else f"{len(files)} files, the first {files[0]}"
        raise BadStore(f"{where}: not readable ({str(error).splitlines()[0]})") from None


@cache
def _query(name: str) -> str:
    return (QUERIES / f"{name}.sql").read_text(encoding="utf-8")
