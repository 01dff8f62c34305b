"""The results that the pages show: one store for the server's life, which reads again what has changed."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import streamlit as st

import leaderboards
from dashboard.pictures import Sources
from leaderboards.places import Place, Stamp
from leaderboards.records import Run
from leaderboards.store import Store

Changed = tuple[tuple[str, object], ...]
"""The runs with when their records were last written: what was worked out before holds until this differs."""


LISTED_FOR_SECONDS = 3.0
"""How long the listing of a URL is taken as it is: a page asks for it several times."""


class Remembering:
    """A place that is far away: its runs are listed once in `LISTED_FOR_SECONDS`, everything else is the place's own."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._listed: tuple[float, Mapping[str, Stamp]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)

    def records(self) -> Mapping[str, Stamp]:
        """The runs with their stamps, as they were at most so long ago."""
        now = time.monotonic()
        if self._listed is None or now - self._listed[0] > LISTED_FOR_SECONDS:
            self._listed = now, self._place.records()
        return self._listed[1]


@dataclass(frozen=True)
class Results:
    """What the results are called, their store, where pictures may be read from, and groups of tasks by name."""

    name: str
    store: Store
    sources: Sources
    groups: Mapping[str, Sequence[str]]

    @property
    def runs(self) -> list[Run]:
        """Every run that can be read, the newest first. Raises `ResultsError` where the place is no store."""
        return self.store.runs()

    @property
    def changed(self) -> Changed:
        """The state of the records."""
        return tuple(self.store.place.records().items())

    def run(self, run_id: str) -> Run | None:
        """The run with this id."""
        return next((run for run in self.runs if run.run_id == run_id), None)


def opened() -> Results:
    """The results that the server was started for."""
    return _opened(tuple(sys.argv[1:]))


@st.cache_resource
def _opened(arguments: Sequence[str]) -> Results:
    parser = argparse.ArgumentParser(prog="dashboard")
    parser.add_argument("--results", default="results")
    parser.add_argument("--name", default="", help="what the pages call them, instead of where they lie")
    parser.add_argument("--images", type=Path, action="append", default=[])
    parser.add_argument("--group", action="append", default=[], help="NAME=TASK,TASK")
    given = parser.parse_args(arguments)
    groups = {name: tasks.split(",") for name, _, tasks in (one.partition("=") for one in given.group)}
    sources = Sources(Path(given.results), tuple(given.images))
    store = leaderboards.open(given.results)
    if "://" in given.results:
        store = Store(cast(Place, Remembering(store.place)))
    return Results(given.name or given.results, store, sources, groups)
