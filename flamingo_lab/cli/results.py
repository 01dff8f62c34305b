"""`flab results`: the leaderboard."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from flamingo_lab.cli import options

app = typer.Typer(
    help="What the runs scored.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog=options.example("flab results table"),
)


@app.callback()
def results() -> None:
    """What the runs scored."""


@app.command(epilog=options.example("flab results table --format md"))
def table(
    results: options.Results = options.RESULTS,
    tasks: Annotated[str | None, typer.Option(help="Only these tasks, with commas between.")] = None,
    models: Annotated[str | None, typer.Option(help="Only these models, with commas between.")] = None,
    every_slice: Annotated[bool, typer.Option("--every-slice", help="All metrics on all slices.")] = False,
    form: Annotated[str, typer.Option("--format", help="rich, md, csv or json.")] = "rich",
    json: options.Json = False,
) -> None:
    """One row a run: score with its 95 % interval, questions, errors, time."""
    from flamingo_lab.errors import BadSetting
    from leaderboards import table as tables
    from leaderboards.store import Store

    form = "json" if json else form
    if form not in tables.FORMATS:
        raise BadSetting(f"--format {form} is none of {', '.join(tables.FORMATS)}")
    wanted = {"task": tasks, "model": models}
    runs = [
        run
        for run in Store(results).runs()
        if all(names is None or getattr(run, key) in names.split(",") for key, names in wanted.items())
    ]
    rows = tables.rows(runs, every_slice=every_slice)
    if not rows:
        print(f"no finished runs in {results}; begin with flab eval --help", file=sys.stderr)
    if form == "rich":
        options.console().print(tables.rich_table(rows))
    else:
        sys.stdout.write(tables.text(rows, form))
