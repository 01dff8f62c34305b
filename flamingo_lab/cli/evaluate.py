"""`flab eval`: ask a model the questions of tasks, and keep and print the scores."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flamingo_lab.cli import options

if TYPE_CHECKING:
    from eval_tasks.groups import Wanted
    from eval_tasks.plan import Plan, Settings
    from eval_tasks.runner import Progress
    from eval_tasks.task import Task
    from flamingo_lab.model import Decoding, Model
    from leaderboards.records import Run
    from leaderboards.store import Store

EXAMPLE = options.example("flab eval --model flamingo-tiny --tasks easy-vqa,shapes-binding --num-fewshot 4")

TOO_MANY_ERRORS = 3


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("eval", epilog=EXAMPLE)(options.with_model(evaluate))


def evaluate(
    chosen: options.Chosen,
    tasks: Annotated[
        str,
        typer.Option(
            help="Tasks (flab list tasks), NAME:SPLIT, lm-eval:NAME, or groups: flamingo, documents, grounding, all; "
            "commas between."
        ),
    ],
    num_fewshot: Annotated[int, typer.Option(min=0, help="Worked examples before each question.")] = 0,
    shot_selection: Annotated[str, typer.Option(help="random: anew for each question; fixed: the same.")] = "random",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many questions.")] = None,
    split: Annotated[str | None, typer.Option(help="Another split than the task's own.")] = None,
    wording: Annotated[str | None, typer.Option(help="How questions are put (flab show task NAME).")] = None,
    task_option: Annotated[list[str] | None, typer.Option(help="A flag of the task; may be repeated.")] = None,
    data: Annotated[Path | None, typer.Option(help="Root folder of the benchmark's own files.")] = None,
    results: options.Results = options.RESULTS,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    seed: Annotated[int, typer.Option(help="Of the shots and of sampling.")] = 0,
    beams: Annotated[int, typer.Option(min=1, help="Beams of a beam search; 1: greedy.")] = 1,
    length_penalty: Annotated[float, typer.Option(help="Of the beam search.")] = 1.0,
    temperature: Annotated[float, typer.Option(min=0.0, help="Draw tokens at this temperature; 0: do not.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw from this share of the probability.")] = 1.0,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Of an answer; the task's own by default.")] = None,
    max_error_rate: Annotated[float, typer.Option(min=0, max=1, help="More errors than this share: exit 3.")] = 0.01,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Let --limit cut sets whose metrics need all questions.")
    ] = False,
    json: options.Json = False,
) -> int:
    """Ask a model the questions of tasks. Interrupted at any moment, the same command goes on."""
    from eval_tasks import groups, scoring, task
    from eval_tasks.plan import Settings
    from leaderboards import table
    from leaderboards.store import Store

    wanted = groups.expand(tasks, download=chosen.download)
    store = Store(results)
    settings = Settings(
        num_fewshot=num_fewshot,
        shot_selection=shot_selection,
        split=split,
        limit=limit,
        data=data,
        seed=seed,
        max_error_rate=max_error_rate,
        wording=wording,
        options=frozenset(task_option or ()),
        decoding=_decoding(beams, length_penalty, temperature, top_p, seed),
        max_new_tokens=max_new_tokens,
        allow_partial=allow_partial,
    )
    for one in wanted:
        task.check_options(one.task, settings.options)
        read_by = one.task.metrics_of(one.task.wording(wording), settings.options)
        scoring.check(one.task, limit, allow_partial, read_by)
    loaded = chosen.load(device, dtype)
    runs = [_run(loaded, one.task, _for(one, settings, is_one_of_many=len(wanted) > 1), store) for one in wanted]
    if json:
        sys.stdout.write(table.text(table.rows(runs, every_slice=True), "json"))
    else:
        options.console().print(table.rich_table(table.rows(runs)))
    for run in runs:
        where = f" --results {shlex.quote(str(results))}" if results != options.RESULTS else ""
        print(f"saved run {run.run_id[:8]} · look at it: flab show run {run.run_id[:8]}{where}", file=sys.stderr)
    failed = [run for run in runs if run.status != "complete"]
    for run in failed:
        rate = (
            f"{run.n_errors} of {run.n} questions have no answer, more than --max-error-rate {max_error_rate:g} allows"
        )
        print(f"error: {run.task}: {rate}; see flab show run {run.run_id[:8]}", file=sys.stderr)
    return TOO_MANY_ERRORS if failed else 0


def _for(wanted: Wanted, settings: Settings, *, is_one_of_many: bool) -> Settings:
    """The settings for one task; among several, one that brings its own data does not get the others'."""
    needs_data = wanted.task.needs_data or not is_one_of_many
    return replace(settings, split=wanted.split or settings.split, data=settings.data if needs_data else None)


def _decoding(beams: int, length_penalty: float, temperature: float, top_p: float, seed: int) -> Decoding | None:
    """The decoding that the options ask for, None for the task's own."""
    from flamingo_lab.errors import BadSetting
    from flamingo_lab.model import Beam, Sample

    if beams > 1 and temperature > 0:
        raise BadSetting("--beams and --temperature are two ways to decode; give one of them")
    if beams > 1:
        return Beam(beams, length_penalty)
    return Sample(temperature, top_p, seed) if temperature > 0 else None


def _run(model: Model, task: Task, settings: Settings, store: Store) -> Run:
    from eval_tasks import runner

    with _bar(task.name) as (say, progress):
        return runner.run(
            model, task, settings, store, command=shlex.join(["flab", *sys.argv[1:]]), planned=say, progress=progress
        )


@contextmanager
def _bar(name: str) -> Generator[tuple[Callable[[Plan], None], Progress]]:
    """What is about to happen, then a progress bar, both on stderr."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, markup=False, highlight=False)
    columns = (
        TextColumn(name),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TextColumn("{task.fields[errors]} errors"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(name, total=None, errors=0, speed="")

        def say(plan: Plan) -> None:
            shots = f"{plan.settings.num_fewshot} shots" if plan.settings.num_fewshot else "no shots"
            console.print(f"{name}: {len(plan.asked)} questions, {shots}, {plan.how} · run {plan.run_id[:8]}")

        def report(done: int, total: int, errors: int) -> None:
            speed = progress.tasks[0].speed
            progress.update(bar, completed=done, total=total, errors=errors, speed=f"{speed or 0:,.0f} q/s")

        yield say, report
