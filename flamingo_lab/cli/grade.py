"""`flab grade`: let a model judge the answers of a run, where a benchmark is scored by judges."""

from __future__ import annotations

import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from flamingo_lab.cli import options
from flamingo_lab.cli.bar import bar
from flamingo_lab.cli.ending import TOO_MANY_ERRORS, kept

EXAMPLE = options.example("flab grade 7c1e5a90 --judge openai:gpt-4-0613 --base-url https://api.openai.com/v1")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    judged = "The model that judges: a listed name, a folder, hf:REPO, or openai:NAME for an endpoint."
    app.command("grade", epilog=EXAMPLE)(options.with_model(grade, flag="--judge", about=judged))


def grade(
    chosen: options.Chosen,
    run: Annotated[str, typer.Argument(help="The run whose answers are graded, by its id or the beginning of it.")],
    gradings: Annotated[
        int | None, typer.Option(min=1, help="How often each answer is graded; as usual in papers by default.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Root folder of the benchmark's own files; the run's by default.")
    ] = None,
    results: options.Results = options.RESULTS,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    max_error_rate: Annotated[float, typer.Option(min=0, max=1, help="More errors than this share: exit 3.")] = 0.01,
    json: options.Json = False,
) -> int:
    """Grade the answers of a run by a judge. Interrupted at any moment, the same command goes on."""
    from eval_tasks import judging, runner, task
    from eval_tasks.plan import Settings
    from leaderboards import table
    from leaderboards.store import Store

    started = datetime.now(UTC)
    store = Store(results)
    graded = store.run(run)
    of = task.as_read(graded.task, graded.versions.get("data") if data is None else None)
    rubric = judging.rubric_of(of)
    held = graded.settings.get("data")
    settings = Settings(data=data or (Path(held) if held else None), max_error_rate=max_error_rate)
    judge = judging.Judge(chosen.load(device, dtype), rubric)
    began = time.perf_counter()
    making = judging.plan(judge, of, graded, store, settings, gradings)
    command = shlex.join(["flab", *sys.argv[1:]])
    with bar(f"{of.name} by {judge.name}") as shown:
        made = runner.carry_out(judge, making, store, began, command=command, planned=shown.say, progress=shown.report)
    rows = table.rows([made], every_slice=json)
    if json:
        sys.stdout.write(table.text(rows, "json"))
    else:
        options.console().print(table.rich_table(rows))
    print(f"{kept(made, started)}; a grading of {graded.run_id[:8]} by {judge.name}", file=sys.stderr)
    if made.status == "complete":
        return 0
    print(f"error: {made.n_errors} of {made.n} gradings failed; see flab show run {made.run_id[:8]}", file=sys.stderr)
    return TOO_MANY_ERRORS
