"""`flab eval`: ask a model the questions of tasks, and keep and print the scores."""

from __future__ import annotations

import json as jsons
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flamingo_lab.cli import beforehand, many, options
from flamingo_lab.cli.bar import bar
from flamingo_lab.cli.ending import ended

if TYPE_CHECKING:
    from eval_tasks.plan import Settings
    from eval_tasks.task import Task
    from flamingo_lab.model import Model
    from leaderboards.records import Run
    from leaderboards.store import Store

EXAMPLE = options.example("flab eval --model flamingo-tiny --tasks easy-vqa,shapes-binding --num-fewshot 4")

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
            help="Tasks (flab list tasks), NAME:SPLIT, NAME@REVISION of a hub's data set, lm-eval:NAME, or groups: flamingo, "
            "documents, grounding, all; commas between."
        ),
    ],
    num_fewshot: Annotated[int, typer.Option(min=0, help="Worked examples before each question.")] = 0,
    shot_selection: Annotated[
        str,
        typer.Option(
            help="random: anew for each question; fixed: the same; rices: most similar pictures; balanced: as many of each "
            "answer; text-only: two without pictures, Flamingo's zero shots; flab list shots has all of them."
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
    task_option: Annotated[
        list[str] | None, typer.Option(help="A flag of those tasks that have it; may be repeated.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Root folder of the benchmark's own files.")] = None,
    results: options.Results = options.RESULTS,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    ray: Annotated[
        str | None,
        typer.Option(help="Spread the run over a Ray cluster: auto starts one here, HOST:PORT is one's head."),
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Copies of the model on the cluster; as many as have room by default.")
    ] = None,
    devices_per_replica: Annotated[
        int | None, typer.Option(min=1, help="GPUs of each replica; its cores where there are no GPUs.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the shots and of sampling.")] = 0,
    seeds: Annotated[
        str | None, typer.Option(help="One run for each of these, and their mean with its spread: 0,1,2.")
    ] = None,
    beams: Annotated[int, typer.Option(min=1, help="Beams of a beam search; 1: greedy.")] = 1,
    length_penalty: Annotated[float, typer.Option(help="Of the beam search.")] = 1.0,
    temperature: Annotated[float, typer.Option(min=0.0, help="Draw tokens at this temperature; 0: do not.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw from this share of the probability.")] = 1.0,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Of an answer; the task's own by default.")] = None,
    min_new_tokens: Annotated[
        int, typer.Option(min=0, help="Of an answer, before which it does not end. Not with an endpoint.")
    ] = 0,
    max_error_rate: Annotated[float, typer.Option(min=0, max=1, help="More errors than this share: exit 3.")] = 0.01,
    allow_partial: Annotated[
        bool, typer.Option("--allow-partial", help="Let --limit cut sets whose metrics need all questions.")
    ] = False,
    metric: options.Metrics = None,
    spice: options.Spice = False,
    json: options.Json = False,
) -> int:
    """Ask a model the questions of tasks. Interrupted at any moment, the same command goes on."""
    from eval_tasks import groups, metrics
    from eval_tasks.plan import Settings
    from leaderboards.store import Store

    began = datetime.now(UTC)
    beforehand.refuse_idle(num_fewshot, shot_selection, seed, seeds, temperature, top_p)
    also = [metrics.named(one) for one in dict.fromkeys(metric or ())]
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
        min_new_tokens=min_new_tokens,
        allow_partial=allow_partial,
        features=chosen.features,
    )
    seeded = [
        replace(settings, seed=number, decoding=beforehand.decoding(beams, length_penalty, temperature, top_p, number))
        for number in beforehand.seeds(seeds, seed)
    ]
    asking = [(one.task, [beforehand.for_task(one, way, wanted, spice) for way in seeded]) for one in wanted]
    beforehand.check(asking, settings.options, spice)
    if ray is None:  # elsewhere the nodes need the files, this machine does not
        chosen.locate()
    read = [beforehand.read(task, ways[0], chosen.download, bool(also)) for task, ways in asking]
    if also:
        asking = beforehand.with_metrics(asking, read, also, wording == EVERY)
    loaded = many.load(chosen, device, dtype, ray, replicas, devices_per_replica)
    ask = _in_every_wording if wording == EVERY else _runs
    runs = [run for task, ways in asking for run in ask(loaded, task, ways, store)]
    _show(runs, store, json, [str(name) for name in also])
    return ended(runs, results, max_error_rate, began)


def _show(runs: Sequence[Run], store: Store, as_json: bool, also: Sequence[str]) -> None:
    """The table of the runs by their own metrics and these, with their spread over seeds and wordings."""
    from leaderboards import table
    from leaderboards.spread import spreads

    spread = spreads(store, runs, every_slice=as_json, also=also)
    if as_json:
        sys.stdout.write(table.text(table.rows(runs, every_slice=True), "json"))
        sys.stdout.writelines(jsons.dumps(asdict(one), ensure_ascii=False) + "\n" for one in spread)
    else:
        options.console().print(table.rich_table(table.rows(runs, also=also), spread))


def _in_every_wording(model: Model, task: Task, ways: Sequence[Settings], store: Store) -> list[Run]:
    """The runs in each wording that the model can read; one that the data or the model cannot serve is left out, and told."""
    from eval_tasks import fitting
    from eval_tasks.errors import MissingData, MissingTool
    from flamingo_lab.errors import BadSetting

    runs: list[Run] = []
    refused: Exception | None = None
    for wording in task.readable(model.about.get("reads")):
        also = tuple(name for name in ways[0].also if not fitting.unread(name, wording))
        asked = [
            replace(way, wording=wording.name, decoding=None if wording.rank else way.decoding, also=also)
            for way in ways
        ]
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
    with bar(task.name, many.state(model)) as shown:
        return runner.run(
            model, task, settings, store, command=command, planned=shown.say, progress=shown.report, looked=shown.looked
        )
