"""`flab train`: make the bundled model again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flamingo_lab.cli import options

EXAMPLE = options.example("flab train flamingo-tiny --out training")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("train", epilog=EXAMPLE)(train)


def train(
    name: Annotated[str, typer.Argument(help="flamingo-tiny.")],
    out: Annotated[Path, typer.Option(help="Folder of the checkpoints and of the finished model.")] = Path("training"),
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 0,
) -> None:
    """Train the bundled model by Flamingo's recipe. Killed at any moment, the same command goes on."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from flamingo_lab.errors import BadSetting, UnknownName
    from flamingo_lab.train import tiny

    if name != tiny.NAME:
        raise UnknownName(f"{name!r} cannot be trained here; only {tiny.NAME} can")
    if any(part.is_file() for part in (out, *out.parents)):
        raise BadSetting(f"{out}: a file stands where a folder should be; choose another --out folder")
    console = Console(stderr=True, markup=False)
    shown = TextColumn("{task.description} loss {task.fields[loss]:.3f}")
    columns = (shown, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bars = {stage: progress.add_task(stage, total=steps, loss=0.0) for stage, steps in tiny.TINY.steps.items()}

        def report(stage: str, step: int, loss: float) -> None:
            progress.update(bars[stage], completed=step, loss=loss)

        print(tiny.train(out, seed=seed, progress=report))
