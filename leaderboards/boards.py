"""The leaderboard, comparisons and published scores as sheets of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leaderboards.compare import Comparison, Difference, Differing
from leaderboards.entrants import Column, Model, entrant, labels, model
from leaderboards.forms import BEST, LEVEL, Cell, Sheet
from leaderboards.ranking import AVERAGE, Matrix, Row
from leaderboards.records import ALL, SHARE, Run
from leaderboards.reported import Reported
from leaderboards.table import interval_kind, intervals_said, shown

NO_VALUE = "–"

LONGEST = 80
"""Letters of a question or answer in a table."""


def matrix_sheet(matrix: Matrix) -> Sheet:
    """Models by tasks: score with interval and rank range; bold where a model is surely first, else who is level with it."""
    names = [column_name(column, matrix.columns) for column in matrix.columns]
    called = labels(model(row.entrant) for row in matrix.rows)
    lines = [
        [
            Cell(ranks(row.average.ranks) if row.average else NO_VALUE),
            Cell(called[model(row.entrant)], about=f"weights {row.entrant.digest[:12]}, {row.entrant.dtype}"),
            Cell(row.entrant.protocol),
            _average(row),
            *(_score(row, column) for column in matrix.columns),
        ]
        for row in matrix.rows
    ]
    shown = [
        (name, row.cells[column].score)
        for name, column in zip(names, matrix.columns, strict=True)
        for row in matrix.rows
        if column in row.cells
    ]
    notes = [
        "score [95 % interval] places it may have; bold: surely first; marked otherwise: not surely worse than the highest "
        f"(tests of {matrix.tests:,} pairs, Holm over the table)",
        intervals_said(shown),
        f"average: {AVERAGE}",
    ]
    heads = ("rank", "model", "protocol")
    numbers = ("average", *names)
    folded = frozenset(("model", "protocol", *numbers))
    return Sheet([*heads, *numbers], lines, frozenset(("rank", *numbers)), folded, notes, heads=len(heads))


def ranks(places: tuple[int, int] | None) -> str:
    """A range of places: 1, or 2-3."""
    if places is None:
        return NO_VALUE
    first, last = places
    return str(first) if first == last else f"{first}-{last}"


def column_name(column: Column, columns: Sequence[Column]) -> str:
    """The task, with its split or metric where another column has the same task."""
    alike = [one for one in columns if one.task == column.task]
    parts = [column.task]
    parts += [column.split] if len({one.split for one in alike}) > 1 else []
    parts += [f"{column.metric} {column.variant}"] if len({one.name for one in alike}) > 1 else []
    parts += [column.slice] if column.slice != ALL else []
    return " ".join(parts)


def _average(row: Row) -> Cell:
    if row.average is None:
        missing = ", ".join(column.task for column in row.missing) or "a rank in every column"
        return Cell(NO_VALUE, about=f"lacks {missing}")
    value, low, high = row.average.value, row.average.low, row.average.high
    between = f" [{100 * low:.1f}, {100 * high:.1f}]" if low is not None and high is not None else ""
    return Cell(f"{100 * value:.1f}{between}")


def _score(row: Row, column: Column) -> Cell:
    cell = row.cells.get(column)
    if cell is None:
        return Cell(NO_VALUE, about="not run")
    mark = BEST if cell.is_best else LEVEL if cell.is_level and cell.ranks != (1, 1) else ""
    about = (
        f"interval: {interval_kind(cell.score)}, n {cell.score.n:,}, {cell.score.n_errors} errors, "
        f"run {cell.run.run_id[:8]}, {cell.run.created[:10]}"
    )
    return Cell(f"{shown(cell.score)} {ranks(cell.ranks)}", mark, about)


def comparison_sheet(found: Sequence[Comparison]) -> Sheet:
    """A line a difference; the notes name the runs in full."""
    columns = (
        "run",
        "against",
        "metric",
        "slice",
        "A",
        "B",
        "B - A [95 %]",
        "p",
        "wins/losses",
        "ties",
        "n",
        "shows",
        "test",
    )
    called = labels(map(model, [found[0].a, *(comparison.b for comparison in found)]))
    lines = [
        [
            Cell(comparison.b.run_id[:8]),
            Cell(_run(comparison.b, called)),
            Cell(one.metric),
            Cell(one.slice),
            Cell(_number(one.a, one.unit)),
            Cell(_number(one.b, one.unit)),
            Cell(_difference(one), BEST if one.is_sure else ""),
            Cell(p_value(one.p_adjusted)),
            Cell(f"{one.wins:,}/{one.losses:,}"),
            *(Cell(f"{count:,}") for count in (one.ties, one.n)),
            Cell(_number(one.detectable, one.unit)),
            Cell(one.test or one.reason),
        ]
        for comparison in found
        for one in comparison.differences
    ]
    metrics = {one.metric: None for comparison in found for one in comparison.differences}
    kinds = {one.interval: None for comparison in found for one in comparison.differences if one.interval}
    notes = [
        f"A: {found[0].a.run_id[:8]} {_run(found[0].a, called)}, {found[0].a.task}"
        + (f"; {next(iter(metrics))}" if len(metrics) == 1 else ""),
        *(
            "; ".join((f"B: {comparison.b.run_id[:8]} {_run(comparison.b, called)}", *_notes(comparison)))
            for comparison in found
        ),
        *([f"95 % intervals: {'; '.join(kinds)}"] if kinds else []),
        "p is corrected (Holm); shows: the smallest true difference that so many questions show four times in five",
    ]
    spare: dict[str, str | None] = {"against": None}
    spare |= {"metric": next(iter(metrics))} if len(metrics) == 1 else {}
    spare |= {"slice": ALL, "run": lines[0][0].text} if lines else {}
    spare |= dict.fromkeys(("test", "shows", "ties", "wins/losses"))
    folded = frozenset(("against", "metric", "slice", "test"))
    return Sheet(columns, lines, frozenset(columns[4:12]), folded, notes, spare=spare)


def differing_sheet(comparison: Comparison, found: Sequence[Differing]) -> Sheet:
    """Questions on which two runs differ, with what each answered."""
    a, b = comparison.a.run_id[:8], comparison.b.run_id[:8]
    columns = ("question", "asked", "right", a, b, "B - A", "sure")
    lines = [
        [
            Cell(one.sample_id),
            *(Cell(_cut(text)) for text in (one.question, " | ".join(one.targets), one.answer_a, one.answer_b)),
            Cell(f"{one.difference:+.2f}"),
            Cell(NO_VALUE if one.sure is None else f"{one.sure:.2f}"),
        ]
        for one in found
    ]
    notes = ["sure: the probability that the less sure of the two gave its answer, by token or among the options"]
    spare = {"sure": None}
    return Sheet(columns, lines, frozenset(columns[5:]), frozenset(columns[:5]), notes, spare=spare)


def _cut(text: str) -> str:
    """A text on one line, cut where it is long."""
    plain = " ".join(text.split())
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"


def p_value(value: float | None) -> str:
    """A p-value, as exact as anybody needs it."""
    if value is None:
        return NO_VALUE
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}" if value < 0.01 else f"{value:.2f}"


def _notes(found: Comparison) -> list[str]:
    counts = {
        "questions only A has": found.n_only_a,
        "questions only B has": found.n_only_b,
        "questions without an answer from both": found.n_unanswered,
        "questions with other targets in B": found.n_changed,
    }
    return [*found.notes, *(f"{what}: {count:,}" for what, count in counts.items() if count)]


def _run(run: Run, called: Mapping[Model, str]) -> str:
    return f"{called[model(run)]}, {entrant(run).protocol}, {run.dtype}"


def _difference(one: Difference) -> str:
    if one.difference is None:
        return NO_VALUE
    factor = 100 if one.unit == SHARE else 1
    value = f"{factor * one.difference:+.1f}"
    if one.low is None or one.high is None:
        return value
    return f"{value} [{factor * one.low:+.1f}, {factor * one.high:+.1f}]"


def _number(value: float | None, unit: str) -> str:
    return NO_VALUE if value is None else f"{value * (100 if unit == SHARE else 1):.1f}"


def published_sheet(runs: Sequence[Run], found: Sequence[Reported]) -> Sheet:
    """Measured beside reported, with all that is known to differ."""
    held = {run.run_id: run for run in runs}
    columns = ("model", "task", "shots", "metric", "measured", "reported", "difference", "what differs", "source")
    lines = [
        [
            Cell(held[one.run_id].model),
            Cell(held[one.run_id].task),
            Cell(str(held[one.run_id].num_fewshot)),
            Cell(one.metric + (f" {one.slice}" if one.slice != ALL else "")),
            Cell(_measured(held[one.run_id], one)),
            Cell(f"{one.reported:g}"),
            Cell(f"{one.difference:+.1f}", LEVEL if one.is_inside else ""),
            Cell("; ".join([*one.differences, f"prompt reported: {one.published.protocol or 'not stated'}"])),
            Cell(one.published.source or "from memory"),
        ]
        for one in found
    ]
    notes = [
        "difference: measured minus reported, marked where the reported score lies in the measured one's 95 % interval; "
        "prompts are not compared by rule"
    ]
    folded = frozenset((*columns[:2], *columns[3:5], *columns[7:]))
    spare = {"source": None, "shots": None}
    return Sheet(columns, lines, frozenset(columns[4:7]), folded, notes, spare=spare)


def _measured(run: Run, one: Reported) -> str:
    named = (score for score in run.scores if f"{score.metric}/{score.variant}" == one.metric)
    return next(shown(score) for score in named if score.slice == one.slice)
