"""The leaderboard's table: ranks, averages, and scores with their marks on one axis a column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dashboard import address, reports
from dashboard.numbers import MISSING, amount, bracket, date, or_why, percent, quantity, scored
from dashboard.ranks import key, what
from dashboard.tree import Element, element, link
from leaderboards.entrants import Column, Model, model
from leaderboards.ranking import AVERAGE, Cell, Matrix, Row
from leaderboards.records import SHARE, Run, Score
from leaderboards.table import interval_kind, intervals_said
from leaderboards.tasks import Task

MOST_ROWS = 200
"""Rows that are drawn; the filters and the download hold the others."""


class Axis(NamedTuple):
    """The ends that a column's marks share, in the score's own unit."""

    low: float
    high: float

    def at(self, value: float) -> str:
        """Where a value stands, as a share of the width."""
        return f"{min(1.0, max(0.0, (value - self.low) / (self.high - self.low))):.4f}"


def board(
    held: Matrix, names: Mapping[Model, str], colour: Mapping[Model, str], tasks: Mapping[Task, str], *, is_beside: bool
) -> Element:
    """Rows of models with their cells; with `is_beside` also what their authors reported.

    `names`, `tasks`: what models and tasks are called.
    """
    axes = {
        column: _axis([row.cells[column].score for row in held.rows if column in row.cells]) for column in held.columns
    }
    rows = _sorted(held)
    body = [_row(row, held, axes, names, colour, tasks, is_beside=is_beside) for row in rows[:MOST_ROWS]]
    table_ = element("table", element("thead", _heads(held, tasks)), element("tbody", body), kind="cards board")
    more = len(rows) - MOST_ROWS
    note = element("p", f"{more} more rows; filter or download to see them", kind="grey") if more > 0 else None
    return element("div", element("div", table_, kind="scroll", id="board"), note)


def _sorted(held: Matrix) -> list[Row]:
    """Rows by the column that the address names, best first, those without it last."""
    by = address.get("sort")
    column = next((one for one in held.columns if _name(one) == by), None)
    if by == "model":
        return sorted(held.rows, key=lambda row: (row.entrant.model, row.entrant.protocol))
    if by == "q/s":
        return sorted(held.rows, key=lambda row: -(_speed(row) or 0))
    if column is None:
        return [*held.rows]
    return sorted(held.rows, key=lambda row: -(row.cells[column].score.value or 0) if column in row.cells else math.inf)


def _name(column: Column) -> str:
    return "/".join((column.task, column.split, column.metric, column.variant))


def _heads(held: Matrix, tasks: Mapping[Task, str]) -> Element:
    """Column heads; each sorts by its column, and names the metric's variant."""
    heads: list[Element] = [
        element("th", "rank", kind="number", scope="col", title="on average; a range where a test cannot tell"),
        element("th", _sorter("model", "model"), scope="col", kind="model"),
        element("th", "params", kind="number", scope="col"),
        element("th", _sorter("average", "", is_usual=held.tests > 0), kind="number", scope="col", title=AVERAGE),
    ]
    for column in held.columns:
        inner = (
            _sorter(tasks[column.task, column.split], _name(column)),
            element("div", f"{column.metric} {column.variant}", kind="thin"),
        )
        heads.append(
            element("th", inner, scope="col", title=f"{column.split} split; tests: {', '.join(held.how[column])}")
        )
    heads += [
        element("th", _sorter("q/s", "q/s"), kind="number", scope="col", title="questions a second over these runs"),
        element("th", "min/1k q", kind="number", scope="col", title="minutes for a thousand questions"),
    ]
    return element("tr", heads)


def _sorter(said: str, by: str, *, is_usual: bool = True) -> Element:
    is_by = address.get("sort") == by and is_usual
    return link(address.here("", sort=by), said + (" ↓" if is_by else ""), aria_label=f"sort by {said}")


def _row(
    row: Row,
    held: Matrix,
    axes: Mapping[Column, Axis],
    names: Mapping[Model, str],
    colour: Mapping[Model, str],
    tasks: Mapping[Task, str],
    *,
    is_beside: bool,
) -> Element:
    one = row.entrant
    swatch = element("span", kind="swatch", __colour=colour[model(one)], aria_hidden="true")
    at = address.to("runs", model=one.model)
    named = link(at, names[model(one)], title=f"weights {one.digest[:16]}, its runs", kind="name")
    by_second = _speed(row)
    return element(
        "tr",
        element("td", or_why(_places(row), _lacks(row, tasks)), kind="number rank", data_label="rank"),
        element("td", swatch, named, element("div", what(one), kind="thin"), kind="first model"),
        _parameters(row.run),
        _average(row, tasks),
        [
            _cell(row, column, held, axes[column], colour, tasks[column.task, column.split], is_beside=is_beside)
            for column in held.columns
        ],
        [
            element("td", or_why(quantity(value), "its runs do not record their time"), kind="number", data_label=name)
            for name, value in (("q/s", by_second), ("min/1k q", 1000 / 60 / by_second if by_second else None))
        ],
    )


def _parameters(run: Run) -> Element:
    reason = "its runs do not record how many parameters the model has"
    return element("td", or_why(amount(run.parameters), reason), kind="number", data_label="params")


def _places(row: Row) -> str:
    if row.average is None:
        return MISSING
    first, last = row.average.ranks
    return str(first) if first == last else f"{first}–{last}"


def _lacks(row: Row, tasks: Mapping[Task, str]) -> str:
    """Why a row has no average, and so no rank."""
    if row.missing:
        return f"no average: lacks {', '.join(tasks[column.task, column.split] for column in row.missing)}"
    return "no average: not yet worked out, or its points have no scale, or a run of it has too many errors"


def _average(row: Row, tasks: Mapping[Task, str]) -> Element:
    if row.average is None:
        return element("td", or_why(MISSING, _lacks(row, tasks)), kind="number", data_label="average")
    low, high = row.average.low, row.average.high
    interval = element("div", bracket(low, high, SHARE), kind="thin")
    return element("td", percent(row.average.value), interval, kind="number", data_label="average", title=AVERAGE)


def _cell(
    row: Row, column: Column, held: Matrix, axis: Axis, colour: Mapping[Model, str], task: str, *, is_beside: bool
) -> Element:
    """A score with its interval as mark on the column's axis. The number leads to the run, the mark to the comparison."""
    cell = row.cells.get(column)
    if cell is None:
        return element("td", or_why(MISSING, "this row has no such run"), kind="cell", data_label=task)
    score = cell.score
    number = link(
        address.to("runs", run=cell.run.run_id),
        scored(score.value, score.unit),
        kind="best" if cell.is_best else None,
        title=_about(cell),
    )
    mark = _mark(score, axis, colour[model(row.entrant)])
    if cell.rival is not None:
        at = address.to("compare", a=key(cell.rival), b=key(row.entrant), task=task)
        mark = link(at, mark, kind="axis-link", aria_label=f"compare with {cell.rival.model}")
    is_level = cell.is_level and sum(one.cells[column].is_level for one in held.rows if column in one.cells) > 1
    return element(
        "td",
        element("div", number, mark, kind="scored"),
        reports.under(cell, column) if is_beside else None,
        kind="cell level" if is_level else "cell",
        data_label=task,
    )


def _about(cell: Cell) -> str:
    score, run = cell.score, cell.run
    said = [
        f"95 % {bracket(score.low, score.high, score.unit)}, {interval_kind(score)}"
        if score.low is not None
        else "no interval",
        f"n {score.n:,}",
        f"{score.n_errors:,} without an answer",
        f"{percent(score.n_unparsed / score.n if score.n else None)} % unreadable",
        f"places {cell.ranks[0]}–{cell.ranks[1]} in this column" if cell.ranks else "no rank",
        f"run {run.run_id[:8]} of {date(run.created)}",
        f"{cell.others} older runs" if cell.others else "",
    ]
    return " · ".join(filter(None, said))


def _mark(score: Score, axis: Axis, colour: str) -> Element:
    value = score.value or 0.0
    low, high = (value, value) if score.low is None or score.high is None else (score.low, score.high)
    interval = element("span", kind="interval", __low=axis.at(low), __high=axis.at(high))
    dot = element("span", kind="dot", __at=axis.at(value))
    return element("span", interval, dot, kind="axis", __colour=colour, aria_hidden="true")


def _axis(scores: Sequence[Score]) -> Axis:
    """From the lowest to the highest end of all intervals, a little wider."""
    ends = [end for one in scores for end in (one.low, one.value, one.high) if end is not None]
    low, high = min(ends), max(ends)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return Axis(low - room, high + room)


def _speed(row: Row) -> float | None:
    seconds = sum(cell.run.seconds for cell in row.cells.values())
    return sum(cell.run.n for cell in row.cells.values()) / seconds if seconds else None


def legend(held: Matrix, tasks: Mapping[Task, str]) -> Element:
    """What the table's signs mean."""
    scores = [
        (tasks[column.task, column.split], row.cells[column].score)
        for column in held.columns
        for row in held.rows
        if column in row.cells
    ]
    said = (
        "Scores in percent, points where a metric counts points. Marks: the intervals, one axis a column. ",
        f"{intervals_said(scores)}. ",
        "Shaded: not distinguishable from the highest in the column; bold: surely above every other "
        f"(Holm over all {held.tests:,} tests of the table). Average: {AVERAGE}. "
        if held.tests
        else "",
        "A number leads to its run, a mark to a comparison with the highest.",
    )
    return element("p", said, kind="grey small wide")
