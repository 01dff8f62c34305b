"""`flab results export`: the leaderboard as a file for others."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flamingo_lab.cli import options
from flamingo_lab.cli.results.choice import PLACE, Choice, Models, Place, Shots, Tasks, none_finished, opened, written


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("export", epilog=options.example("flab results export leaderboard.html"))(export)


def export(
    file: Annotated[Path, typer.Argument(help="NAME.html: a page that needs nothing else. NAME.json: for programs.")],
    results: Place = PLACE,
    tasks: Tasks = None,
    models: Models = None,
    num_fewshot: Shots = None,
) -> None:
    """Write the leaderboard as an HTML page or as JSON, without commands, paths and machines."""
    from flamingo_lab.errors import BadSetting
    from leaderboards import export as exporting
    from leaderboards import ranking
    from leaderboards.files import write_whole

    if file.suffix not in (".html", ".json"):
        raise BadSetting(f"{file}: a name that ends in .html or .json is expected")
    written(file)
    store = opened(results)
    runs = Choice(tasks, models, num_fewshot).runs(store)
    if said := none_finished(runs, results):
        raise BadSetting(said)
    is_page = file.suffix == ".html"
    text = exporting.page(store, runs) if is_page else exporting.leaderboard(ranking.matrix(store, runs))
    write_whole(file, lambda stream: stream.write(text.encode()))
    print(f"wrote {file}: {len(runs)} runs", file=sys.stderr)
