"""The results that the pages show: one store for the server's life, which reads again what has changed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

import leaderboards
from dashboard.pictures import Sources
from leaderboards.records import Run
from leaderboards.store import Store

Changed = tuple[tuple[str, object], ...]
"""The runs with when their records were last written: what was worked out before holds until this differs."""


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
    return Results(given.name or given.results, leaderboards.open(given.results), sources, groups)
