"""`flab results delete`: runs and all that belongs to them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from flamingo_lab.cli import options


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("delete", epilog=options.example("flab results delete 7c1e5a90"))(delete)


def delete(
    runs: Annotated[list[str], typer.Argument(help="Runs, by the beginning of their ids (flab list runs).")],
    results: options.Results = options.RESULTS,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete runs with their answers. Says what goes, and asks."""
    from flamingo_lab.errors import BadSetting
    from leaderboards import moving
    from leaderboards.store import Store

    store = Store(results)
    found = {run.run_id: run for run in (store.run(prefix) for prefix in runs)}
    for run_id, run in found.items():
        size = moving.size_bytes(store, run_id) / 1e6
        print(f"{run_id} {run.model}, {run.task}, {run.n:,} questions, {run.status}, {size:.1f} MB", file=sys.stderr)
    if not yes:
        if not sys.stdin.isatty():
            raise BadSetting("nothing was deleted: there is nobody to ask; say --yes")
        if not typer.confirm(f"delete {len(found)} runs?", err=True):
            print("nothing was deleted", file=sys.stderr)
            return
    moving.delete(store, list(found))
    print(f"deleted {len(found)} runs", file=sys.stderr)
