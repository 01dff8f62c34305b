"""`flab score`: the score of predictions that were made elsewhere."""

from __future__ import annotations

import json as jsons
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from flamingo_lab.cli import options

EXAMPLE = options.example("flab score --task chartqa --predictions predictions.json")

SEVERAL = ("--predictions", "--annotations")
"""Options that take any number of paths."""


class SeveralPaths(TyperCommand):
    """The verb's arguments, with one option a path: people write several paths, or a pattern, behind one option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """What the command line library is given."""
        return super().parse_args(ctx, repeated(args))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("score", epilog=EXAMPLE, cls=SeveralPaths)(score)


def repeated(arguments: Sequence[str]) -> list[str]:
    """The arguments with `--predictions a b` as `--predictions a --predictions b`."""
    found: list[str] = []
    option, is_first = "", True
    for argument in arguments:
        if argument.startswith("--"):
            option, is_first = argument if argument in SEVERAL else "", True
        elif option:
            found += [] if is_first else [option]
            is_first = False
        found.append(argument)
    return found


def score(
    task: Annotated[str, typer.Option(help="The task (flab list tasks), or NAME:SPLIT.")],
    predictions: Annotated[
        list[Path],
        typer.Option(help="Files or folders of predictions, in any layout that flab knows.", metavar="PATH..."),
    ],
    annotations: Annotated[
        list[Path] | None,
        typer.Option(help="Files with the right answers, if not the task's own.", metavar="PATH..."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Root folder of the benchmark's own files.")] = None,
    metric: Annotated[str | None, typer.Option(help="METRIC/VARIANT; the task's official one by default.")] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Score what is there where predictions are missing.")
    ] = False,
    spice: options.Spice = False,
    json: options.Json = False,
) -> None:
    """Score predictions made elsewhere. Answers are taken as they stand: nothing is stripped."""
    from eval_tasks import groups, metrics
    from eval_tasks.scoring import score_file
    from flamingo_lab.errors import BadSetting
    from leaderboards import table

    found, split = groups.single(task)
    name = None if metric is None else metrics.named(metric)
    also = options.spice(found, spice)
    if spice and not also:
        raise BadSetting(f"--spice scores captions, and {task} asks for none; leave it away")
    if split and annotations:
        raise BadSetting(f"--task {task}: a split is one of --data; --annotations hold the right answers of their own")
    for one in also:
        metrics.get(one.metric, one.variant).check()
    scores = [
        score
        for wanted in (name, *also)
        for score in score_file(
            found, wanted, predictions, annotations or (), data, allow_missing=allow_missing, split=split
        ).scores
    ]
    if json:
        sys.stdout.writelines(jsons.dumps({"task": task} | asdict(one)) + "\n" for one in scores)
        return
    for one in scores:
        label = f"{one.metric}/{one.variant}"
        counts = {"n": one.n, "unparsed": one.n_unparsed, "missing": one.n_errors}
        told = "  ".join(f"{what} {count:,}" for what, count in counts.items() if count or what == "n")
        print(f"{one.slice:<24} {label}  {table.shown(one, digits=2)}  {told}")
