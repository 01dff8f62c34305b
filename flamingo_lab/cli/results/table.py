"""`flab results table`: what the runs scored, a row a run or models by tasks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from flamingo_lab.cli import options
from flamingo_lab.cli.results.choice import PLACE, Choice, Models, Place, Shots, Tasks, none_finished, opened

if TYPE_CHECKING:
    from leaderboards.forms import Sheet
    from leaderboards.records import Run
    from leaderboards.store import Store


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("table", epilog=options.example("flab results table --matrix --num-fewshot 4 --format latex"))(table)


def table(
    results: Place = PLACE,
    tasks: Tasks = None,
    models: Models = None,
    num_fewshot: Shots = None,
    slice: Annotated[str, typer.Option(help="On these questions only, KEY=VALUE.")] = "all",
    every_slice: Annotated[bool, typer.Option("--every-slice", help="All metrics on all slices.")] = False,
    matrix: Annotated[
        bool, typer.Option("--matrix", help="Models by tasks, with ranks as ranges and what is surely best.")
    ] = False,
    published: Annotated[
        bool, typer.Option("--published", help="The authors' scores beside, with all that differs.")
    ] = False,
    form: Annotated[str, typer.Option("--format", help="rich, md, csv, json, latex or html.")] = "rich",
    json: options.Json = False,
) -> None:
    """Scores with 95 % intervals, questions, errors, time: one row a run."""
    from flamingo_lab.errors import BadSetting
    from leaderboards import table as tables

    form = "json" if json else form
    if form not in tables.FORMATS:
        raise BadSetting(f"--format {form} is none of {', '.join(tables.FORMATS)}")
    if matrix + published + every_slice > 1:
        raise BadSetting("--matrix, --published and --every-slice are three tables; choose one")
    if slice != "all" and (published or every_slice):
        beside = "--published" if published else "--every-slice"
        raise BadSetting(f"--slice {slice}: {beside} shows slices of its own; leave one of the two out")
    store = opened(results)
    runs = Choice(tasks, models, num_fewshot).runs(store)
    if slice != "all" and runs and not any(one.slice == slice for run in runs for one in run.scores):
        raise BadSetting(f"--slice {slice}: no run has it; flab results table --every-slice shows what there is")
    if said := none_finished(runs, results):
        print(said, file=sys.stderr)
    if matrix:
        sys.stdout.write(_matrix(store, runs, slice, form))
    elif published:
        sys.stdout.write(_published(runs, form))
    else:
        rows = tables.rows(runs, every_slice=every_slice, slice=slice)
        sys.stdout.write(drawn(tables.sheet(rows)) if form == "rich" else tables.text(rows, form))


def drawn(sheet: Sheet) -> str:
    """The sheet as a terminal shows it; nothing of one without lines, of which stderr says why."""
    from leaderboards.forms import rich_table

    if not sheet.lines:
        return ""

    console = options.console()
    with console.capture() as captured:
        console.print(rich_table(sheet))
    return captured.get()


def text(sheet: Sheet, form: str) -> str:
    """The sheet in a form that is made of its texts."""
    from leaderboards.forms import comma_separated
    from leaderboards.table import WRITTEN

    if form == "rich":
        return drawn(sheet)
    if form == "csv":
        return comma_separated(sheet.columns, [[cell.text for cell in line] for line in sheet.lines])
    return WRITTEN[form](sheet)


def _matrix(store: Store, runs: Sequence[Run], slice: str, form: str) -> str:
    from leaderboards import boards, export, ranking

    found = ranking.matrix(store, runs, slice=slice)
    if form == "json":
        return export.leaderboard(found)
    return text(boards.matrix_sheet(found), form)


def _published(runs: Sequence[Run], form: str) -> str:
    import json as jsons
    from dataclasses import asdict

    from leaderboards import boards, reported

    found = [one for run in runs if run.status != "running" for one in reported.beside(run)]
    if runs and not found:
        print("nothing is published of these models on these tasks", file=sys.stderr)
    if form == "json":
        return "".join(jsons.dumps(asdict(one), ensure_ascii=False) + "\n" for one in found)
    return text(boards.published_sheet(runs, found), form)
