"""The results that the pages show: one store for the server's life, which reads again what has changed."""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import streamlit as st

import leaderboards
from dashboard.pictures import Sources
from leaderboards.entrants import Model, labels, model
from leaderboards.places import Place, Stamp
from leaderboards.records import Run
from leaderboards.store import Store

USUAL = "results"
"""The folder that every command uses where none is named."""

LISTED_FOR_SECONDS = 3.0
"""How long the listing of a URL is taken as it is."""


class Remembering:
    """A place whose runs are listed when `look` is called, not each time that something asks for them."""

    def __init__(self, place: Place, for_seconds: float) -> None:
        self._place = place
        self._for_seconds = for_seconds
        self._listed: tuple[float, Mapping[str, Stamp]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._place, name)

    def look(self) -> Mapping[str, Stamp]:
        """List the runs, unless that was done a short time ago. Raises `BadStore` where the place may not be read."""
        now = time.monotonic()
        if self._listed is None or now - self._listed[0] > self._for_seconds:
            self._listed = now, self._place.records()
        return self._listed[1]

    def records(self) -> Mapping[str, Stamp]:
        """The runs with their stamps, as they were last seen."""
        return self._listed[1] if self._listed else self.look()


@dataclass(frozen=True)
class Results:
    """What the results are called, their store, where pictures may be read from, and groups of tasks by name.

    A page has its own, which says what was there when the page was asked for.
    """

    name: str
    store: Store
    sources: Sources
    groups: Mapping[str, Sequence[str]]

    @cached_property
    def runs(self) -> Sequence[Run]:
        """Every run that can be read, the newest first."""
        return self.store.runs()

    @cached_property
    def names(self) -> Mapping[Model, str]:
        """What every model is called on all pages."""
        return labels(map(model, self.runs))

    @cached_property
    def problems(self) -> Sequence[str]:
        """What cannot be read, a line each."""
        return self.store.problems()

    @cached_property
    def changed(self) -> str:
        """The state of the records: what was worked out before holds until this differs."""
        return hashlib.sha256(repr(sorted(self.store.place.records().items())).encode()).hexdigest()

    def run(self, run_id: str) -> Run | None:
        """The run with this id."""
        return next((run for run in self.runs if run.run_id == run_id), None)


def opened() -> Results:
    """The results that the server was started for, as they are now. Raises `ResultsError` where the place is no store."""
    held, place = _opened(tuple(sys.argv[1:]))
    place.look()
    return replace(held)


@st.cache_resource
def _opened(arguments: Sequence[str]) -> tuple[Results, Remembering]:
    parser = argparse.ArgumentParser(prog="dashboard")
    parser.add_argument("--results", default=USUAL)
    parser.add_argument("--name", default="", help="what the pages call them, instead of where they lie")
    parser.add_argument("--images", type=Path, action="append", default=[])
    parser.add_argument("--group", action="append", default=[], help="NAME=TASK,TASK")
    given = parser.parse_args(arguments)
    groups = {name: tasks.split(",") for name, _, tasks in (one.partition("=") for one in given.group)}
    sources = Sources(Path(given.results), tuple(given.images))
    is_far = "://" in given.results
    place = Remembering(leaderboards.open(given.results).place, LISTED_FOR_SECONDS if is_far else 0.0)
    return Results(given.name or given.results, Store(cast(Place, place)), sources, groups), place
