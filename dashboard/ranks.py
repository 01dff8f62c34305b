"""The leaderboard and its rows as the pages use them: worked out once for a state of the results."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence

import streamlit as st

from dashboard.results import Changed, Results
from leaderboards.entrants import Entrant, entrant
from leaderboards.ranking import Matrix, matrix
from leaderboards.records import Run
from leaderboards.store import Store


def ranked(results: Results, runs: Sequence[Run], *, slice: str, is_complete: bool) -> Matrix:
    """The leaderboard of these runs."""
    ids = tuple(run.run_id for run in runs)
    return _ranked(results.name, results.changed, ids, slice, is_complete, results.store, list(runs))


@st.cache_data(max_entries=50, show_spinner=False)
def _ranked(
    name: str,
    changed: Changed,
    run_ids: Sequence[str],
    slice: str,
    is_complete: bool,
    _store: Store,
    _runs: Sequence[Run],
) -> Matrix:
    return matrix(_store, _runs, slice=slice, is_complete=is_complete)


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
    """Names of rows: the model, its shots, and of the rest only what tells rows of one model apart."""
    digests: dict[str, set[str]] = defaultdict(set)
    for one in shown:
        digests[one.model].add(one.digest)
    found: dict[Entrant, str] = {}
    for one in shown:
        same = [other for other in shown if other.model == one.model]
        parts = [one.model if len(digests[one.model]) == 1 else f"{one.model} · {one.digest[:6]}"]
        parts += [_shots(one)] if len({other.num_fewshot for other in same}) > 1 else []
        parts += [say(one) for of, say in _APART if len({of(other) for other in same}) > 1 and of(one)]
        found[one] = ", ".join(parts)
    return found


def _shots(one: Entrant) -> str:
    return "1 shot" if one.num_fewshot == 1 else f"{one.num_fewshot} shots"


_APART: tuple[tuple[Callable[[Entrant], object], Callable[[Entrant], str]], ...] = (
    (lambda one: one.shots if one.shots != "random" else "", lambda one: f"{one.shots} shots"),
    (lambda one: one.wording, lambda one: f"wording {one.wording}"),
    (lambda one: one.decoding, lambda one: one.decoding),
    (lambda one: one.options, lambda one: one.options),
    (lambda one: one.seed, lambda one: f"seed {one.seed}"),
    (lambda one: one.limit, lambda one: f"first {one.limit:,}"),
    (lambda one: one.dtype, lambda one: one.dtype),
    (lambda one: one.quantisation, lambda one: one.quantisation),
    (lambda one: one.backend, lambda one: one.backend),
)
"""What may tell rows apart beside model and shots, and how it is said."""
