"""The results folder that the pages show, read anew when something in it has changed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import streamlit as st

from dashboard.pictures import Sources
from leaderboards.records import Run
from leaderboards.store import Store


@dataclass(frozen=True)
class Results:
    """A results folder and where pictures may be read from."""

    path: Path
    sources: Sources

    @cached_property
    def store(self) -> Store:
        """The folder's records. Raises `ResultsError` where it is none."""
        return Store(self.path)

    @property
    def runs(self) -> list[Run]:
        """Every run, the newest first."""
        return _runs(self.path, _changed(self.path))

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
    given = parser.parse_args(arguments)
    return Results(given.results, Sources(given.results, tuple(given.images)))


def _changed(path: Path) -> tuple[tuple[str, int], ...]:
    """Each run's record with the time of its last change."""
    try:
        return tuple((one.parent.name, one.stat().st_mtime_ns) for one in sorted(path.glob("runs/*/run.json")))
    except OSError:
        return ()  # reading the runs says what is wrong


@st.cache_data(max_entries=4, show_spinner=False)
def _runs(path: Path, changed: tuple[tuple[str, int], ...]) -> list[Run]:
    return Store(path).runs()
