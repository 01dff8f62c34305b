"""`flab eval`: ask a model the questions of tasks, and keep and print the scores."""

from __future__ import annotations

import json as jsons
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flamingo_lab.cli import options
from flamingo_lab.cli.bar import bar

if TYPE_CHECKING:
    from eval_tasks.groups import Wanted
    from eval_tasks.plan import Settings
    from eval_tasks.task import Task
    from flamingo_lab.model import Decoding, Model
    from leaderboards.records import Run
    from leaderboards.store import Store

EXAMPLE = options.example("flab eval --model flamingo-tiny --tasks easy-vqa,shapes-binding --num-fewshot 4")

TOO_MANY_ERRORS = 3

EVERY = "all"
"""As a wording: every one that the model can read."""


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
    shot_selection: Annotated[
        str,
        typer.Option(
            help="random: anew for each question; fixed: the same; rices: most similar pictures; balanced: as many of each "
            "answer; text-only: two without pictures, Flamingo's zero shots."
        ),
    ] = "random",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many questions.")] = None,
    split: Annotated[str | None, typer.Option(help="Another split than the task's own.")] = None,
    wording: Annotated[
        str | None,
        typer.Option(
            "--wording",
            "--phrasing",
            help="How questions are put (flab show task NAME); all: one run for each wording that the model can read.",
        ),
    ] = None,
    task_option: Annotated[list[str] | None, typer.Option(help="A flag of the task; may be repeated.")] = None,
    data: Annotated[Path | None, typer.Option(help="Root folder of the benchmark's own files.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps pictures' features for rices; in the results by default.")
    ] = None,
    results: options.Results = options.RESULTS,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    seed: Annotated[int, typer.Option(help="Of the shots and of sampling.")] = 0,
    seeds: Annotated[
        str | None, typer.Option(help="One run for each of these, and their mean with its spread: 0,1,2.")
    ] = None,
    beams: Annotated[int, typer.Option(min=1, help="Beams of a beam search; 1: greedy.")] = 1,
    length_penalty: Annotated[float, typer.Option(help="Of the beam search.")] = 1.0,
    temperature: Annotated[float, typer.Option(min=0.0, help="Draw tokens at this temperature; 0: do not.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw from this share of the probability.")] = 1.0,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Of an answer; the task's own by default.")] = None,
    max_error_rate: Annotated[float, typer.Option(min=0, max=1, help="More errors than this share: exit 3.")] = 0.01,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Let --limit cut sets whose metrics need all questions.")
    ] = False,
    spice: options.Spice = False,
    json: options.Json = False,
) -> int:
    """Ask a model the questions of tasks. Interrupted at any moment, the same command goes on."""
    from eval_tasks import groups, scoring, shots, task
    from eval_tasks.plan import Settings
    from flamingo_lab.errors import BadSetting
    from leaderboards import table
    from leaderboards.spread import spreads
    from leaderboards.store import Store

    wanted = groups.expand(tasks, download=chosen.download)
    store = Store(results)
    settings = Settings(
        num_fewshot=num_fewshot,
        shot_selection=shot_selection,
        split=split,
        limit=limit,
        data=data,
        max_error_rate=max_error_rate,
        wording=None if wording == EVERY else wording,
        options=frozenset(task_option or ()),
        max_new_tokens=max_new_tokens,
        allow_partial=allow_partial,
        cache=cache,
    )
    shots.get(shot_selection).check()
    for one in wanted:
        task.check_options(one.task, settings.options)
        read_by = one.task.metrics_of(one.task.wording(settings.wording), settings.options)
        scoring.check(one.task, limit, allow_partial, (*read_by, *options.spice(one.task, spice)))
    if spice and not any(options.spice(one.task, spice) for one in wanted):
        raise BadSetting("--spice scores captions, and none of the tasks asks for any; leave it away")
    seeded = [
        replace(settings, seed=number, decoding=_decoding(beams, length_penalty, temperature, top_p, number))
        for number in _seeds(seeds, seed)
    ]
    loaded = chosen.load(device, dtype)
    runs: list[Run] = []
    for one in wanted:
        also = options.spice(one.task, spice)
        ways = [replace(_for(one, way, is_one_of_many=len(wanted) > 1), also=also) for way in seeded]
        if wording == EVERY:
            runs += _in_every_wording(loaded, one.task, ways, store)
        else:
            runs += _runs(loaded, one.task, ways, store)
    spread = spreads(store, runs, every_slice=json)
    if json:
        sys.stdout.write(table.text(table.rows(runs, every_slice=True), "json"))
        sys.stdout.writelines(jsons.dumps(asdict(one), ensure_ascii=False) + "\n" for one in spread)
    else:
        options.console().print(table.rich_table(table.rows(runs), spread))
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


def _seeds(listed: str | None, one: int) -> list[int]:
    """The seeds of `--seeds`, else the one of `--seed`."""
    from flamingo_lab.errors import BadSetting

    if listed is None:
        return [one]
    try:
        return list(dict.fromkeys(int(number) for number in listed.split(",")))
    except ValueError:
        raise BadSetting(
            f"--seeds {listed}: whole numbers with commas between are expected, 0,1,2 for example"
        ) from None


def _in_every_wording(model: Model, task: Task, ways: Sequence[Settings], store: Store) -> list[Run]:
    """The runs in each wording that the model can read; one that the data or the model cannot serve is left out, and told."""
    from eval_tasks.errors import MissingData, MissingTool
    from flamingo_lab.errors import BadSetting

    runs: list[Run] = []
    refused: Exception | None = None
    for wording in task.readable(model.about.get("reads")):
        asked = [replace(way, wording=wording.name, decoding=None if wording.rank else way.decoding) for way in ways]
        try:
            runs += _runs(model, task, asked, store)
        except (MissingData, MissingTool, BadSetting) as error:
            refused = error
            print(f"{task.name}: the wording {wording.name} is left out: {error}", file=sys.stderr)
    if refused is not None and not runs:
        raise refused
    return runs


def _runs(model: Model, task: Task, ways: Sequence[Settings], store: Store) -> list[Run]:
    """One run a way, each once."""
    runs = {run.run_id: run for run in (_run(model, task, way, store) for way in ways)}
    if len(runs) < len(ways):
        print(f"{task.name}: several seeds ask the same here, since nothing is drawn", file=sys.stderr)
    return list(runs.values())


def _run(model: Model, task: Task, settings: Settings, store: Store) -> Run:
    from eval_tasks import runner

    command = shlex.join(["flab", *sys.argv[1:]])
    with bar(task.name) as shown:
        return runner.run(
            model, task, settings, store, command=command, planned=shown.say, progress=shown.report, looked=shown.looked
        )
