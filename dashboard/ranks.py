"""The leaderboard and its rows as the pages use them: worked out once for a state of the results, in the background."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from functools import partial

from dashboard.results import Results
from dashboard.workshop import PATIENCE_SECONDS, workshop
from leaderboards.entrants import Column, Entrant, entrant, labels, model
from leaderboards.ranking import Cell, Matrix, Row, matrix
from leaderboards.records import Run


def ranked(results: Results, runs: Sequence[Run]) -> Matrix | None:
    """The leaderboard of these runs; None while its tests are being worked out, which many runs take seconds for."""
    asked = results.name, results.changed, tuple(run.run_id for run in runs)
    (found,) = workshop("ranks").ask({asked: partial(matrix, results.store, [*runs])})
    try:
        return found.result(PATIENCE_SECONDS)
    except (TimeoutError, CancelledError):  # another visitor wanted it no more
        return None


def untested(runs: Sequence[Run]) -> Matrix:
    """The scores of a leaderboard, by name, with nothing that a test has to say: no ranks, no best cells, no average."""
    newest_first = sorted(runs, key=lambda run: run.created, reverse=True)
    held: dict[Entrant, dict[Column, Cell]] = defaultdict(dict)
    for run in newest_first:
        score = run.scores[0]
        column = Column(run.task, run.split, score.metric, score.variant)
        held[entrant(run)].setdefault(column, Cell(run, score, None, False, False, 0, None))
    columns = sorted({column for cells in held.values() for column in cells})
    rows = [
        Row(one, next(iter(cells.values())).run, cells, None, [column for column in columns if column not in cells])
        for one, cells in sorted(held.items(), key=lambda pair: (pair[0].model, pair[0].protocol))
    ]
    return Matrix(columns, rows, 0, dict.fromkeys(columns, ()))


def complete(runs: Sequence[Run]) -> list[Run]:
    """The runs of those rows that have a score in every column that these runs have."""
    held: dict[Entrant, set[tuple[str, ...]]] = defaultdict(set)
    for run in runs:
        score = run.scores[0]
        held[entrant(run)].add((run.task, run.split, score.metric, score.variant))
    every = {column for columns in held.values() for column in columns}
    return [run for run in runs if held[entrant(run)] == every]


def key(one: Entrant) -> str:
    """What an address calls a row."""
    return hashlib.sha256(repr(one).encode()).hexdigest()[:8]


def entrants(runs: Sequence[Run]) -> dict[str, Entrant]:
    """Every row that finished runs belong to, by its key, in the order of names and shots."""
    found = {entrant(run) for run in runs if run.scores}
    return {
        key(one): one for one in sorted(found, key=lambda one: (one.model, one.digest, one.num_fewshot, one.protocol))
    }


def newest(runs: Sequence[Run]) -> Mapping[Entrant, Mapping[tuple[str, str], Run]]:
    """Each row's newest finished run on each task and split."""
    found: dict[Entrant, dict[tuple[str, str], Run]] = defaultdict(dict)
    for run in sorted(runs, key=lambda run: run.created):
        if run.scores:
            found[entrant(run)][run.task, run.split] = run
    return found


def what(one: Entrant) -> str:
    """How a row was asked, and in which numbers it was computed."""
    return " · ".join(filter(None, (one.protocol, one.quantisation or one.dtype)))


def in_short(shown: Sequence[Entrant]) -> dict[Entrant, str]:
    """Names of rows: the model, its shots, and of the rest only what tells rows of one model apart."""
    called = labels(map(model, shown))
    found: dict[Entrant, str] = {}
    for one in shown:
        same = [other for other in shown if other.model == one.model]
        parts = [called[model(one)]]
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
    (lambda one: one.backend, lambda one: one.backend),
)
"""What may tell rows apart beside model and shots, and how it is said."""
