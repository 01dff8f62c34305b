"""Which runs a verb is about."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from leaderboards.records import Run
    from leaderboards.store import Store

Tasks = Annotated[str | None, typer.Option(help="Only these tasks, TASK or TASK:SPLIT, with commas between.")]
Models = Annotated[str | None, typer.Option(help="Only these models, with commas between.")]
Shots = Annotated[str | None, typer.Option(help="Only runs with so many shots; several with commas between.")]
Place = Annotated[str, typer.Option("--results", help="Folder of the results, or a URL: s3://BUCKET/FOLDER.")]

PLACE = "results"

NAMES: Mapping[str, Callable[[Run], Sequence[str]]] = {
    "--tasks": lambda run: (run.task, f"{run.task}:{run.split}"),
    "--models": lambda run: (run.model,),
    "--num-fewshot": lambda run: (str(run.num_fewshot),),
}
"""What a run may be called in an option; the first is the usual name."""


@dataclass(frozen=True)
class Choice:
    """What of a store is wanted; None is everything."""

    tasks: str | None = None
    models: str | None = None
    num_fewshot: str | None = None

    def runs(self, store: Store) -> list[Run]:
        """The runs, the newest first. A name that no run has is an error that says which there are."""
        from flamingo_lab.errors import BadSetting

        there = store.runs()
        given = {"--tasks": self.tasks, "--models": self.models, "--num-fewshot": self.num_fewshot}
        wanted = {option: _parts(names) for option, names in given.items() if names is not None}
        for option, names in wanted.items():
            _check(option, names, [NAMES[option](run) for run in there])
        found = [
            run for run in there if all(not {*NAMES[option](run)}.isdisjoint(names) for option, names in wanted.items())
        ]
        if there and not found:
            said = " ".join(f"{option} {given[option]}" for option in wanted)
            raise BadSetting(f"no run has all of {said}; flab list runs shows what there is")
        return found


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


def none_finished(runs: Sequence[Run], place: str) -> str | None:
    """What to say where no run is finished, None where one is."""
    if any(run.status != "running" for run in runs):
        return None
    if runs:
        return f"no finished runs in {place}, {len(runs)} unfinished: the same flab eval command goes on with one"
    return f"no finished runs in {place}; begin with flab eval --help"


def _parts(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _check(option: str, names: Sequence[str], held: Sequence[Sequence[str]]) -> None:
    import difflib

    from flamingo_lab.errors import BadSetting

    every = sorted({name for one in held for name in one})
    for name in names:
        if every and name not in every:
            near = difflib.get_close_matches(name, every, n=3) or sorted({one[0] for one in held})
            raise BadSetting(f"{option} {name}: no run has it; there are {', '.join(near[:8])}")


def written(path: Path) -> None:
    """Refuse a path that cannot be written before any work is done for it."""
    from flamingo_lab.errors import BadSetting

    if path.is_dir() or not path.parent.is_dir():
        raise BadSetting(f"{path}: not a file in a folder that exists")
