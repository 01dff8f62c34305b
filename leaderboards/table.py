"""The leaderboard as a table: one row a run and score."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from leaderboards.records import SHARE, Run, Score
from leaderboards.spread import Spread

if TYPE_CHECKING:
    from rich.table import Table

FORMATS = ("rich", "md", "csv", "json")


@dataclass(frozen=True)
class Row:
    """A score with the run it belongs to; the fields that `--json` prints."""

    run_id: str
    model: str
    task: str
    metric: str
    variant: str
    slice: str
    value: float | None
    low: float | None
    high: float | None
    stderr: float | None
    n: int
    n_errors: int
    n_unparsed: int
    unit: str
    num_fewshot: int
    seconds: float
    questions_per_second: float | None
    status: str
    created: str
    shot_selection: str
    phrasing: str
    seed: int
    judge: str | None


def rows(runs: Sequence[Run], *, every_slice: bool = False) -> list[Row]:
    """A row for each run, with the official metric on the whole task; with `every_slice` a row for each score."""
    return [_row(run, score) for run in runs for score in (run.scores if every_slice else run.scores[:1])]


def _row(run: Run, score: Score) -> Row:
    return Row(
        run_id=run.run_id,
        model=run.model,
        task=run.task,
        num_fewshot=run.num_fewshot,
        seconds=run.seconds,
        questions_per_second=run.questions_per_second,
        status=run.status,
        created=run.created,
        shot_selection=run.shot_selection,
        phrasing=run.phrasing,
        seed=run.seed,
        judge=run.judge,
        **asdict(score),
    )


def shown(score: Row | Score, digits: int | None = None) -> str:
    """A score with its interval, where it has one, as `96.4 [96.0, 96.8]`: shares in percent, points as they stand.

    Without `digits` two decimals where the interval is narrower than one shows, otherwise one.
    """
    if score.value is None:
        return "–"
    factor = 100 if score.unit == SHARE else 1
    value = factor * score.value
    if score.low is None or score.high is None:
        return f"{value:.{1 if digits is None else digits}f}"
    low, high = factor * score.low, factor * score.high
    if digits is None:
        digits = 1 if high - low >= 1 else 2
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def duration(seconds: float) -> str:
    """Seconds as `m:ss`, or with one decimal below a minute."""
    return f"{int(seconds // 60)}:{int(seconds % 60):02}" if seconds >= 60 else f"{seconds:.1f} s"


PLAIN_SHOTS = "random"
"""The selection of shots that is not told beside their number."""

COLUMNS = ("model", "task", "slice", "shots", "metric", "score [95 %]", "n", "errors", "time", "q/s", "run")
RIGHT = {"shots", "score [95 %]", "n", "errors", "time", "q/s"}
TOLD = {"phrasing": "wording", "seed": "seed"}
"""What is told of a run, and the column's name, where runs in a table differ in it."""

FOLDED = {"metric", "slice"}
"""Columns that break over lines where a terminal is narrow."""


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of `COLUMNS`."""
    speed = f"{row.questions_per_second:,.0f}" if row.questions_per_second else "–"
    return (
        row.model,
        row.task,
        row.slice,
        _shots(row),
        f"{row.metric} {row.variant}" + (f", judge {row.judge}" if row.judge else ""),
        shown(row),
        f"{row.n:,}",
        str(row.n_errors),
        duration(row.seconds),
        speed,
        row.run_id[:8],
    )


def spread_cells(spread: Spread) -> tuple[str, ...]:
    """A spread as text, in the order of `COLUMNS`: mean ± standard deviation, from the least to the largest value."""
    factor = 100 if spread.unit == SHARE else 1
    mean, low, high = (f"{factor * value:.1f}" for value in (spread.mean, spread.low, spread.high))
    std = "" if spread.std is None else f" ± {factor * spread.std:.1f}"
    return (
        spread.model,
        spread.task,
        spread.slice,
        _shots(spread),
        f"{spread.metric} {spread.variant}",
        f"{mean}{std} ({low} to {high})",
        f"{len(spread.members)} {spread.over}s",
        *[""] * 4,
    )


def _shots(row: Row | Spread) -> str:
    """How many, and how they were selected where that is worth a word."""
    is_plain = not row.num_fewshot or row.shot_selection == PLAIN_SHOTS
    return str(row.num_fewshot) if is_plain else f"{row.num_fewshot} {row.shot_selection}"


def rich_table(table: Sequence[Row], spreads: Sequence[Spread] = ()) -> Table:
    """For a terminal: the runs, then the spreads over some of them. Text is shown, never read as markup.

    With spreads the runs' seeds and wordings are shown, as far as they differ.
    """
    from rich.table import Table
    from rich.text import Text

    differing = [name for name in TOLD if spreads and len({getattr(row, name) for row in table}) > 1]
    drawn = Table(padding=(0, 0, 0, 1))
    for column in (*COLUMNS, *(TOLD[name] for name in differing)):
        drawn.add_column(column, justify="right" if column in RIGHT else "left", no_wrap=column not in FOLDED)
    for row in table:
        style = "bold red" if row.n_errors else ""
        texts = [
            Text(text, style=style if column == "errors" else "")
            for column, text in zip(COLUMNS, cells(row), strict=True)
        ]
        drawn.add_row(*texts, *(Text(str(getattr(row, name))) for name in differing))
    if spreads:
        drawn.add_section()
    for spread in spreads:
        drawn.add_row(*(Text(text, style="bold") for text in spread_cells(spread)))
    return drawn


def text(table: Sequence[Row], form: str) -> str:
    """The table as Markdown, CSV, or one JSON object a line."""
    if form == "json":
        return "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in table)
    if form == "md":
        lines = [COLUMNS, tuple("---:" if column in RIGHT else "---" for column in COLUMNS), *map(cells, table)]
        return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*Row.__dataclass_fields__])
    writer.writerows([_harmless(value) for value in asdict(row).values()] for row in table)
    return stream.getvalue()


def _harmless(value: object) -> object:
    """Text that a spreadsheet would take for a formula gets an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
