"""The leaderboard as a table: one row a run and score."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from leaderboards import forms
from leaderboards.entrants import PLAIN, entrant, labels, model, shots_said
from leaderboards.forms import BAD, Cell, Drawn, Sheet
from leaderboards.records import ALL, SHARE, Run, Score, headline
from leaderboards.tasks import Task
from leaderboards.tasks import called as tasks_called

if TYPE_CHECKING:
    from leaderboards.spread import Spread

WRITTEN: Mapping[str, Callable[[Sheet], str]] = {"md": forms.markdown, "latex": forms.latex, "html": forms.html}
FORMATS = ("rich", "csv", "json", *WRITTEN)


@dataclass(frozen=True)
class Row:
    """A score with the run it belongs to; the fields that `--json` prints."""

    run_id: str
    model: str
    task: str
    split: str
    metric: str
    variant: str
    slice: str
    value: float | None
    low: float | None
    high: float | None
    stderr: float | None
    interval: str | None
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
    model_digest: str
    dtype: str
    quantisation: str | None
    options: str
    decoding: str
    limit: int | None
    protocol: str


Told = TypeVar("Told", Row, "Spread")


def rows(runs: Sequence[Run], *, every_slice: bool = False, slice: str = ALL, also: Collection[str] = ()) -> list[Row]:
    """A row for each run, with the official metric on the whole task or on a slice; one more for each metric of `also`.

    With `every_slice` a row for each score.
    """
    return [_row(run, score) for run in runs for score in (run.scores if every_slice else headline(run, slice, also))]


def _row(run: Run, score: Score) -> Row:
    asked = entrant(run)
    return Row(
        run_id=run.run_id,
        model=run.model,
        task=run.task,
        split=run.split,
        num_fewshot=run.num_fewshot,
        seconds=run.seconds,
        questions_per_second=run.questions_per_second,
        status=run.status,
        created=run.created,
        shot_selection=run.shot_selection,
        phrasing=run.phrasing,
        seed=run.seed,
        judge=run.judge,
        model_digest=run.model_digest,
        dtype=run.dtype,
        quantisation=run.quantisation,
        options=asked.options,
        decoding=run.decoding,
        limit=run.limit,
        protocol=asked.protocol,
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


COLUMNS = ("model", "task", "slice", "shots", "metric", "score [95 %]", "n", "errors", "time", "q/s", "run")
RIGHT = frozenset(("shots", "score [95 %]", "n", "errors", "time", "q/s"))

OVER = {"phrasing": "wordings", "seed": "seeds"}
"""What a spread is over, in words."""

FOLDED = frozenset(("model", "task", "protocol", "metric", "slice"))
"""Columns that break over lines where a terminal is narrow."""

WHOLE = frozenset(("metric",))
"""Those of them that break inside words last."""

SPARE = {"time": None, "q/s": None, "slice": ALL, "errors": "0"}
"""Columns that a narrow terminal does without, in this order; some only where they say nothing else."""


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of `COLUMNS`, with the protocol for the shots."""
    speed = f"{row.questions_per_second:,.0f}" if row.questions_per_second else "–"
    return (
        row.model,
        row.task,
        row.slice,
        row.protocol,
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
    mean, std, least, most = (f"{factor * one:.1f}" for one in (spread.mean, spread.std, spread.least, spread.most))
    return (
        spread.model,
        spread.task,
        spread.slice,
        shots_said(spread.num_fewshot, spread.shot_selection),
        f"{spread.metric} {spread.variant}",
        f"{mean} ± {std} ({least} to {most})" if spread.std else f"{mean}, all alike",
        f"{len(spread.members)} {OVER[spread.over]}",
        *[""] * 4,
    )


def sheet(table: Sequence[Row], spreads: Sequence[Spread] = ()) -> Sheet:
    """The rows as texts, errors marked, then the spreads over some of them.

    Where all were asked in the plain way their numbers of shots stand for it, else the protocol. A task on several splits is
    named as `--tasks` takes it, `TASK:SPLIT`.
    """
    tasks = tasks_called((*table, *spreads))
    names = labels(map(model, table))
    models = {row.run_id: names[model(row)] for row in table}
    is_plain = all(PLAIN.fullmatch(row.protocol) for row in table)
    lines = [
        [
            Cell(text, BAD if row.n_errors and column == "errors" else "")
            for column, text in zip(COLUMNS, cells(_named(replace(row, model=models[row.run_id]), tasks)), strict=True)
        ]
        for row in table
    ]
    lines += [
        [*map(Cell, spread_cells(_named(replace(one, model=models.get(one.run_ids[0], one.model)), tasks)))]
        for one in spreads
    ]
    place = COLUMNS.index("shots")
    if is_plain:
        for line in lines:
            line[place] = Cell(line[place].text.partition(" ")[0])
    columns = COLUMNS if is_plain else (*COLUMNS[:place], "protocol", *COLUMNS[place + 1 :])
    notes = [intervals_said((tasks[row.task, row.split], row) for row in table)] if table else []
    return Sheet(columns, lines, RIGHT, FOLDED, notes, whole=WHOLE, spare=SPARE)


def intervals_said(scores: Iterable[tuple[str, Row | Score]]) -> str:
    """Which kinds of intervals a table's scores have, given with their columns' names: of each kind whose, if it has several."""
    of: dict[str, dict[str, None]] = {}
    for name, score in scores:
        of.setdefault(interval_kind(score), {})[name] = None
    kinds = [f"{kind} ({', '.join(names)})" if len(of) > 1 else kind for kind, names in of.items()]
    return f"95 % intervals: {'; '.join(kinds)}"


def interval_kind(score: Row | Score) -> str:
    """The kind of a score's interval, in words."""
    if score.low is None:
        return "none"
    return score.interval or "kind not recorded (flab results rescore adds it)"


def _named(one: Told, tasks: Mapping[Task, str]) -> Told:
    return replace(one, task=tasks[one.task, one.split])


def rich_table(table: Sequence[Row], spreads: Sequence[Spread] = ()) -> Drawn:
    """For a terminal: the runs, then the spreads. Text of models and tasks is shown, never read as markup."""
    return forms.rich_table(sheet(table, spreads))


def text(table: Sequence[Row], form: str) -> str:
    """The table as Markdown, LaTeX, HTML, CSV, or one JSON object a line."""
    if form == "json":
        return "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in table)
    if form == "csv":
        return forms.comma_separated([*Row.__dataclass_fields__], [[*asdict(row).values()] for row in table])
    return WRITTEN[form](sheet(table))
