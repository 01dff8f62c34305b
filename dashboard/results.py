"""The results folder that the pages show, read anew when something in it has changed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import streamlit as st

from dashboard.pictures import Sources
from leaderboards.records import Run
from leaderboards.store import Store


@dataclass(frozen=True)
class Results:
    """A results folder, where pictures may be read from, and groups of tasks by name."""

    path: Path
    sources: Sources
    groups: Mapping[str, Sequence[str]]

    @cached_property
    def store(self) -> Store:
        """The folder's records. Raises `ResultsError` where it is none."""
        return Store(self.path)

    @property
    def runs(self) -> list[Run]:
        """Every run, the newest first."""
        return _runs(self.path, self.changed)

    @property
    def changed(self) -> tuple[tuple[str, int], ...]:
        """Each run's record with the time of its last change: what was worked out before holds until this differs."""
        try:
            return tuple((one.parent.name, one.stat().st_mtime_ns) for one in sorted(self.path.glob("runs/*/run.json")))
        except OSError:
            return ()  # reading the runs says what is wrong

    def run(self, run_id: str) -> Run | None:
        """The run with this id."""
        return next((run for run in self.runs if run.run_id == run_id), None)


def opened() -> Results:
    """The results that the server was started for."""
    return _opened(tuple(sys.argv[1:]))


@st.cache_resource
def _opened(arguments: Sequence[str]) -> Results:
    parser = argparse.ArgumentParser(prog="dashboard")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--images", type=Path, action="append", default=[])
    parser.add_argument("--group", action="append", default=[], help="NAME=TASK,TASK")
    given = parser.parse_args(arguments)
    groups = {name: tasks.split(",") for name, _, tasks in (one.partition("=") for one in given.group)}
    return Results(given.results, Sources(given.results, tuple(given.images)), groups)


@st.cache_data(max_entries=4, show_spinner=False)
def _runs(path: Path, changed: tuple[tuple[str, int], ...]) -> list[Run]:
    return Store(path).runs()
