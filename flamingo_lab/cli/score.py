"""`flab score`: the score of predictions that were made elsewhere."""

from __future__ import annotations

import json as jsons
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flamingo_lab.cli import options

EXAMPLE = options.example("flab score --task chartqa --predictions predictions.json")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("score", epilog=EXAMPLE)(score)


def score(
    task: Annotated[str, typer.Option(help="Name of the task (flab list tasks).")],
    predictions: Annotated[
        list[Path], typer.Option(help="File of predictions: .json, .jsonl or .csv; may be repeated.")
    ],
    annotations: Annotated[
        list[Path] | None, typer.Option(help="File with the right answers, if not the task's own.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Root folder of the benchmark's own files.")] = None,
    metric: Annotated[str | None, typer.Option(help="METRIC/VARIANT; the task's official one by default.")] = None,
    json: options.Json = False,
) -> None:
    """Score predictions made elsewhere. Answers are taken as they stand: nothing is stripped."""
    from eval_tasks import task as tasks
    from eval_tasks.errors import UnknownTask
    from eval_tasks.scoring import score_file
    from eval_tasks.task import MetricName
    from leaderboards import table

    found = tasks.get(task)
    name = found.metrics[0]
    if metric is not None:
        wanted, slash, variant = metric.partition("/")
        if not slash:
            raise UnknownTask(f"--metric {metric}: METRIC/VARIANT is expected, {name} for example")
        name = MetricName(wanted, variant)
    scores = score_file(found, name, predictions, annotations or (), data)
    if json:
        sys.stdout.writelines(jsons.dumps({"task": task} | asdict(one)) + "\n" for one in scores)
        return
    for one in scores:
        label = f"{one.metric}/{one.variant}"
        print(f"{one.slice:<24} {label}  {table.shown(one, digits=2)}  n {one.n:,}")
