"""`flab results merge`: the runs of several folders in one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flamingo_lab.cli import options
from flamingo_lab.cli.results.choice import PLACE, Place


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("merge", epilog=options.example("flab results merge node1/results node2/results --results all"))(merge)


def merge(
    folders: Annotated[list[Path], typer.Argument(help="Results folders; they stay as they are.", metavar="DIR...")],
    results: Place = PLACE,
) -> None:
    """Bring the runs of other results folders into one, or publish the finished ones at a URL.

    Two runs with one id and other content are an error; nothing is lost.
    """
    from leaderboards import moving
    from leaderboards.store import Store

    sources = [Store(folder) for folder in folders]
    if "://" in results:
        from leaderboards.remote import RemotePlace, publish

        found = moving.together([publish(source, RemotePlace(results)) for source in sources])
    else:
        found = moving.merge(Store(Path(results)), sources)
    print(f"{len(found.brought)} runs brought to {results}, {len(found.there)} were there", file=sys.stderr)
    for run_id in found.brought:
        print(run_id)
