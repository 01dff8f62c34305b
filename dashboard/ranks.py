"""The leaderboard and its rows as the pages use them: worked out once for a state of the results."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from dashboard.results import Results
from leaderboards.ranking import Entrant, Matrix, entrant, matrix
from leaderboards.records import Run
from leaderboards.store import Store


def ranked(results: Results, runs: Sequence[Run], *, slice: str, is_complete: bool) -> Matrix:
    """The leaderboard of these runs."""
    return _ranked(results.path, results.changed, tuple(run.run_id for run in runs), slice, is_complete, list(runs))


@st.cache_data(max_entries=50, show_spinner=False)
def _ranked(
    path: Path,
    changed: Sequence[tuple[str, int]],
    run_ids: Sequence[str],
    slice: str,
    is_complete: bool,
    _runs: Sequence[Run],
) -> Matrix:
    return matrix(Store(path), _runs, slice=slice, is_complete=is_complete)


def key(one: Entrant) -> str:
    """What an address calls a row."""
    return hashlib.sha256(repr(one).encode()).hexdigest()[:8]


def entrants(runs: Sequence[Run]) -> dict[str, Entrant]:
    """Every row that finished runs belong to, by its key, in the order of names and shots."""
    found = {entrant(run) for run in runs if run.scores}
    return {
        key(one): one for one in sorted(found, key=lambda one: (one.model, one.digest, one.num_fewshot, one.protocol))
    }


def newest(runs: Sequence[Run], one: Entrant) -> dict[tuple[str, str], Run]:
    """A row's newest finished run on each task and split."""
    found: dict[tuple[str, str], Run] = {}
    for run in sorted(runs, key=lambda run: run.created):
        if run.scores and entrant(run) == one:
            found[run.task, run.split] = run
    return found


def what(one: Entrant) -> str:
    """How a row was asked, and in which numbers it was computed."""
    return " · ".join(filter(None, (one.protocol, one.quantisation or one.dtype)))


def in_short(shown: Sequence[Entrant]) -> dict[Entrant, str]:
    """Names of rows as short as they stay apart: the model, then its shots, then all of its protocol."""
    forms = (
        lambda one: one.model,
        lambda one: f"{one.model}, {one.num_fewshot} shots",
        lambda one: f"{one.model}, {one.protocol}",
        lambda one: f"{one.model}, {what(one)} · {one.digest[:6]} · {key(one)}",
    )
    found: dict[Entrant, str] = {}
    for form in forms:
        texts = Counter(form(one) for one in shown)
        for one in shown:
            if one not in found and (texts[form(one)] == 1 or form is forms[-1]):
                found[one] = form(one)
    return found
