"""Which runs a verb is about."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from leaderboards.records import Run
    from leaderboards.store import Store

Tasks = Annotated[str | None, typer.Option(help="Only these tasks, with commas between.")]
Models = Annotated[str | None, typer.Option(help="Only these models, with commas between.")]
Shots = Annotated[str | None, typer.Option(help="Only runs with so many shots; several with commas between.")]
Place = Annotated[str, typer.Option("--results", help="Folder of the results, or a URL: s3://BUCKET/FOLDER.")]

PLACE = "results"


@dataclass(frozen=True)
class Choice:
    """What of a store is wanted; None is everything."""

    tasks: str | None = None
    models: str | None = None
    num_fewshot: str | None = None

    def runs(self, store: Store) -> list[Run]:
        """The runs, the newest first. A name that no run has is an error that says which there are."""
        there = store.runs()
        wanted = {
            "task": _parts(self.tasks),
            "model": _parts(self.models),
            "num_fewshot": _parts(self.num_fewshot),
        }
        for key, names in wanted.items():
            held = sorted({str(getattr(run, key)) for run in there})
            _check(key, names, held)
        return [
            run
            for run in there
            if all(names is None or str(getattr(run, key)) in names for key, names in wanted.items())
        ]


def opened(place: str) -> Store:
    """The results at a path or URL. What is left out is told on stderr; where nothing is left, it is the error."""
    import leaderboards
    from leaderboards.errors import BadStore

    store = leaderboards.open(place)
    problems = store.problems()
    if problems and not store.runs():
        raise BadStore(problems[0])
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    return store


def _parts(names: str | None) -> list[str] | None:
    return None if names is None else [name.strip() for name in names.split(",") if name.strip()]


def _check(key: str, names: Sequence[str] | None, held: Sequence[str]) -> None:
    import difflib

    from flamingo_lab.errors import BadSetting

    said = {"task": "--tasks", "model": "--models", "num_fewshot": "--num-fewshot"}[key]
    for name in names or ():
        if held and name not in held:
            near = difflib.get_close_matches(name, held, n=3) or held
            raise BadSetting(f"{said} {name}: no run has it; there are {', '.join(near[:8])}")


def written(path: Path) -> None:
    """Refuse a path that cannot be written before any work is done for it."""
    from flamingo_lab.errors import BadSetting

    if path.is_dir() or not path.parent.is_dir():
        raise BadSetting(f"{path}: not a file in a folder that exists")
