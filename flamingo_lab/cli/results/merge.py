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
    import leaderboards
    from leaderboards import moving
    from leaderboards.remote import RemotePlace, publish
    from leaderboards.store import Store

    sources = [Store(folder) for folder in folders]
    target = leaderboards.open(results)
    if isinstance(target.place, RemotePlace):
        found = publish(sources, target.place)
    else:
        found = moving.merge(target, sources)
    print(f"{len(found.brought)} runs brought to {results}, {len(found.there)} were there", file=sys.stderr)
    for run_id in found.brought:
        print(run_id)
