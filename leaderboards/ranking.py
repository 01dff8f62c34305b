"""The leaderboard: models by tasks, with ranks that are ranges, best cells only where a test says so, and an average.

A row is a model's weights, their number format and the protocol. A column is one variant of one metric on one split of a
task: different rules never share a column. Ranks follow Mogstad et al. (2024): a model's is one more than the number of
those that are surely better, up to as many as are not surely worse, after Holm's correction over all tests of the table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from leaderboards.entrants import Column, Entrant, entrant, scale
from leaderboards.pairs import Pair, normal, of_column, tested_error
from leaderboards.records import ALL, Run, Score, score_of
from leaderboards.significance import holm
from leaderboards.statistics import Interval, mean_of
from leaderboards.store import Store

SURE = 0.05

AVERAGE = (
    "mean over the shown tasks, each 0 at what guessing gets and 100 at the most there is (leaderboards/scales.csv, "
    "otherwise 0 and 100 as shown), of a task with several columns their mean; empty for a row that lacks a column"
)
"""What the average is."""


@dataclass(frozen=True)
class Cell:
    """A model's score in a column. `ranks`: the first and last place that it may have, None where it takes no part.

    `is_best`: surely better than every other. `is_level`: not surely worse than the column's highest. `others`: runs of
    the same row and column that are older than the one shown. `rival`: the highest other row that answered a question
    that this one did.
    """

    run: Run
    score: Score
    ranks: tuple[int, int] | None
    is_best: bool
    is_level: bool
    others: int
    rival: Entrant | None


@dataclass(frozen=True)
class Average:
    """The normalised average (`AVERAGE`), 0..1, with a 95 % interval and the places it may have."""

    value: float
    low: float | None
    high: float | None
    ranks: tuple[int, int]


@dataclass(frozen=True)
class Row:
    """An entrant's cells by column, and its average, None where it lacks the columns in `missing`."""

    entrant: Entrant
    run: Run
    cells: Mapping[Column, Cell]
    average: Average | None
    missing: Sequence[Column]


@dataclass(frozen=True)
class Matrix:
    """The leaderboard: rows by average, then by name. `tests` of pairs were corrected together; `how`: each column's test."""

    columns: Sequence[Column]
    rows: Sequence[Row]
    tests: int
    how: Mapping[Column, Sequence[str]]


Pairs = Mapping[tuple[int, int], Pair]
Placed = Mapping[Entrant, Mapping[Column, Sequence[Run]]]


class Tested(NamedTuple):
    """The rows that have a rank in a column, and each two of them by their numbers."""

    entrants: Sequence[Entrant]
    pairs: Pairs


class Standing(NamedTuple):
    """A column's ranks, the rows that are not surely worse than its highest, and each one's rival (see `Cell`)."""

    ranks: Mapping[Entrant, tuple[int, int]]
    level: frozenset[Entrant]
    rivals: Mapping[Entrant, Entrant]


def matrix(store: Store, runs: Sequence[Run] | None = None, *, slice: str = ALL, is_complete: bool = False) -> Matrix:
    """The leaderboard of finished runs, all of the store by default; with `is_complete` only of rows that lack no column.

    Runs with too many errors are shown, but have no rank.
    """
    there = [run for run in (store.runs() if runs is None else runs) if run.status != "running"]
    heads = {(run.task, run.split, one.metric, one.variant, one.slice) for run in there for one in _heads(run, slice)}
    columns = sorted(Column(*head) for head in heads)
    placed = _placed(there, columns)
    if is_complete:
        placed = {entrant: cells for entrant, cells in placed.items() if len(cells) == len(columns)}
    tested = {column: _tested(store, column, placed) for column in columns}
    keys = [
        (column, pair) for column, one in tested.items() for pair, held in one.pairs.items() if held.p_value is not None
    ]
    corrected = holm([tested[column].pairs[pair].p_value or 0.0 for column, pair in keys])
    adjusted: dict[Column, dict[tuple[int, int], float]] = {column: {} for column in columns}
    for (column, pair), value in zip(keys, corrected, strict=True):
        adjusted[column][pair] = value
    standings = {column: _standing(column, one, placed, adjusted[column]) for column, one in tested.items()}
    averages = _averages(placed, tested, columns)
    rows = [
        Row(
            entrant=one,
            run=max((held[0] for held in cells.values()), key=lambda run: run.created),
            cells={column: _cell(column, held, standings[column], one) for column, held in cells.items()},
            average=averages.get(one),
            missing=[column for column in columns if column not in cells],
        )
        for one, cells in placed.items()
    ]
    rows.sort(
        key=lambda row: (-row.average.value if row.average else math.inf, row.entrant.model, row.entrant.protocol)
    )
    how = {column: sorted({pair.test for pair in one.pairs.values()}) for column, one in tested.items()}
    return Matrix(columns, rows, len(keys), how)


def _heads(run: Run, slice: str) -> list[Score]:
    """The run's official score on the slice, where it has a value."""
    official = run.scores[:1]
    return [
        one
        for one in run.scores
        for head in official
        if (one.metric, one.variant, one.slice) == (head.metric, head.variant, slice) and one.value is not None
    ]


def _placed(runs: Sequence[Run], columns: Sequence[Column]) -> dict[Entrant, dict[Column, list[Run]]]:
    """Each row's runs in each column, the newest first."""
    placed: dict[Entrant, dict[Column, list[Run]]] = {}
    for run in sorted(runs, key=lambda run: run.created, reverse=True):
        for column in columns:
            if (run.task, run.split) == (column.task, column.split):
                score = score_of(run, column.name, column.slice)
                if score is not None and score.value is not None:
                    placed.setdefault(entrant(run), {}).setdefault(column, []).append(run)
    return placed


def _ranks(pairs: Pairs, count: int, adjusted: Mapping[tuple[int, int], float]) -> list[tuple[int, int]]:
    """The places that each of so many may have: behind all that are surely better, before all that are surely worse."""
    better, worse = [0] * count, [0] * count
    for (first, second), pair in pairs.items():
        if adjusted.get((first, second), 1.0) < SURE:
            upper, lower = (second, first) if pair.difference > 0 else (first, second)
            better[lower] += 1
            worse[upper] += 1
    return [(1 + above, count - below) for above, below in zip(better, worse, strict=True)]


def _cell(column: Column, held: Sequence[Run], standing: Standing, entrant: Entrant) -> Cell:
    ranks = standing.ranks.get(entrant)
    return Cell(
        run=held[0],
        score=_score(held[0], column),
        ranks=ranks,
        is_best=ranks == (1, 1) and len(standing.ranks) > 1,
        is_level=entrant in standing.level,
        others=len(held) - 1,
        rival=standing.rivals.get(entrant),
    )


def _tested(store: Store, column: Column, placed: Placed) -> Tested:
    """Every two rows of a column whose runs are whole."""
    held = {one: cells[column][0] for one, cells in placed.items() if column in cells}
    whole = {one: run for one, run in held.items() if run.status == "complete"}
    return Tested(list(whole), of_column(store, list(whole.values()), column.name, column.slice))


def _standing(column: Column, tested: Tested, placed: Placed, adjusted: Mapping[tuple[int, int], float]) -> Standing:
    """Ranks, who is not surely worse than the highest, and whom each is compared with."""
    entrants = tested.entrants
    if not entrants:
        return Standing({}, frozenset(), {})
    ranks = _ranks(tested.pairs, len(entrants), adjusted)
    values = [_score(placed[one][column][0], column).value or 0.0 for one in entrants]
    highest = values.index(max(values))
    level = {
        one
        for number, one in enumerate(entrants)
        if number == highest or adjusted.get((min(number, highest), max(number, highest)), 1.0) >= SURE
    }
    return Standing(dict(zip(entrants, ranks, strict=True)), frozenset(level), _rivals(tested, values))


def _rivals(tested: Tested, values: Sequence[float]) -> dict[Entrant, Entrant]:
    """For each row the highest other one of which a question was asked that it was asked too."""
    downwards = sorted(range(len(values)), key=lambda number: -values[number])
    found: dict[Entrant, Entrant] = {}
    for number, one in enumerate(tested.entrants):
        sharing = (other for other in downwards if other != number and _pair(tested, number, other).shares)
        if (rival := next(sharing, None)) is not None:
            found[one] = tested.entrants[rival]
    return found


def _averages(placed: Placed, tested: Mapping[Column, Tested], columns: Sequence[Column]) -> dict[Entrant, Average]:
    """The average of each row that lacks no column; tasks count as independent of each other, a task's columns as one."""
    scales = {column: span for column in columns if (span := _scale_of(column, placed))}
    whole = [one for one in placed if scales and all(one in tested[column].entrants for column in scales)]
    held = {one: {column: _score(placed[one][column][0], column) for column in scales} for one in whole}
    values: dict[Entrant, float] = {}
    for one, scores in held.items():
        above = {column: (score.value or 0.0) - scales[column][0] for column, score in scores.items()}
        parts = _by_task(above, scales)
        values[one] = sum(parts) / len(parts)
    numbers = {column: {one: number for number, one in enumerate(tested[column].entrants)} for column in scales}
    pairs: dict[tuple[int, int], Pair] = {}
    for second, later in enumerate(whole):
        for first, earlier in enumerate(whole[:second]):
            errors = {
                column: tested_error(_pair(tested[column], at[earlier], at[later])) for column, at in numbers.items()
            }
            pairs[first, second] = normal(values[later] - values[earlier], _joined(errors, scales))
    known = {key: pair.p_value for key, pair in pairs.items() if pair.p_value is not None}
    ranks = _ranks(pairs, len(whole), dict(zip(known, holm(list(known.values())), strict=True)))
    found: dict[Entrant, Average] = {}
    for one, place in zip(whole, ranks, strict=True):
        low, high = _interval(held[one], scales)
        found[one] = Average(values[one], low, high, place)
    return found


def _interval(
    scores: Mapping[Column, Score], scales: Mapping[Column, tuple[float, float]]
) -> tuple[float | None, float | None]:
    """The average's 95 % interval from those of the scores; None where one has none."""
    known: dict[Column, tuple[float, ...]] = {}
    for column, score in scores.items():
        if score.value is None or score.low is None or score.high is None or score.stderr is None:
            return None, None
        floor = scales[column][0]
        known[column] = score.value - floor, score.low - floor, score.high - floor, score.stderr
    # Columns of one task rest on the same answers: their ends are added as if they always went together.
    ends = [_by_task({column: one[place] for column, one in known.items()}, scales) for place in range(4)]
    found = mean_of([Interval(*parts) for parts in zip(*ends, strict=True)])
    return found.low, found.high


def _pair(tested: Tested, first: int, second: int) -> Pair:
    return tested.pairs[min(first, second), max(first, second)]


def _by_task(values: Mapping[Column, float], scales: Mapping[Column, tuple[float, float]]) -> list[float]:
    """Values over their columns' spans, of each task the mean."""
    tasks: dict[str, list[float]] = {}
    for column, value in values.items():
        floor, ceiling = scales[column]
        tasks.setdefault(column.task, []).append(value / (ceiling - floor))
    return [sum(parts) / len(parts) for parts in tasks.values()]


def _scale_of(column: Column, placed: Placed) -> tuple[float, float] | None:
    runs = [cells[column][0] for cells in placed.values() if column in cells]
    return scale(column, _score(runs[0], column).unit) if runs else None


def _score(run: Run, column: Column) -> Score:
    """The run's score in a column that it stands in."""
    score = score_of(run, column.name, column.slice)
    assert score is not None
    return score


def _joined(errors: Mapping[Column, float | None], scales: Mapping[Column, tuple[float, float]]) -> float | None:
    """The standard error of the average; None where one is not known.

    Columns of one task rest on the same answers: their errors are added as if they always went together.
    """
    known = {column: error for column, error in errors.items() if error is not None}
    if len(known) < len(errors):
        return None
    parts = _by_task(known, scales)
    return math.hypot(*parts) / len(parts)
