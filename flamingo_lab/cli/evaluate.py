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

from flamingo_lab.cli import many, options
from flamingo_lab.cli.bar import bar
from flamingo_lab.cli.ending import ended

if TYPE_CHECKING:
    from eval_tasks.groups import Wanted
    from eval_tasks.metrics import MetricName
    from eval_tasks.plan import Settings
    from eval_tasks.task import Sample, Task
    from flamingo_lab.model import Decoding, Model
    from leaderboards.records import Run
    from leaderboards.store import Store

    Asking = tuple[Task, Sequence[Settings]]

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
            help="Tasks (flab list tasks), NAME:SPLIT, lm-eval:NAME, or groups: flamingo, documents, grounding, all; "
            "commas between."
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
    _refuse_idle(num_fewshot, shot_selection, seed, seeds, temperature, top_p)
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
        allow_partial=allow_partial,
        features=chosen.features,
    )
    seeded = [
        replace(settings, seed=number, decoding=_decoding(beams, length_penalty, temperature, top_p, number))
        for number in _seeds(seeds, seed)
    ]
    asking = [(one.task, [_for(one, way, wanted, spice) for way in seeded]) for one in wanted]
    _check(asking, settings.options, spice)
    if ray is None:  # elsewhere the nodes need the files, this machine does not
        chosen.locate()
    read = [_read(task, ways[0], chosen.download, bool(also)) for task, ways in asking]
    if also:
        asking = _with_metrics(asking, read, also, wording == EVERY)
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


def _for(one: Wanted, settings: Settings, wanted: Sequence[Wanted], spice: bool) -> Settings:
    """The settings for one task; among several, each gets what it has a use for: its own flags, and data if it needs some."""
    is_alone = len(wanted) == 1
    return replace(
        settings,
        split=one.split or settings.split,
        data=settings.data if one.task.needs_data or is_alone else None,
        options=settings.options if is_alone else settings.options & one.task.options.keys(),
        also=options.spice(one.task, spice),
    )


def _check(asking: Sequence[Asking], flags: frozenset[str], spice: bool) -> None:
    """Refuse what could not be asked or scored in the end, before anything is loaded."""
    from eval_tasks import scoring, shots, task
    from eval_tasks.errors import PartialSet, UnknownTask
    from eval_tasks.plan import splits_for_shots
    from flamingo_lab.errors import BadSetting

    bare: list[str] = []
    partial: dict[str, PartialSet] = {}
    for one, ways in asking:
        settings = ways[0]
        shots.get(settings.shot_selection).check()
        split = task.split_of(one, settings.split)
        brings_own = type(one).shots_for is not task.Task.shots_for
        if _takes_shots(settings) and not brings_own and not splits_for_shots(one, split):
            bare.append(f"{one.name}:{split}")
        read_by = one.metrics_of(one.wording(settings.wording), settings.options)
        try:
            scoring.check(one, settings.limit, settings.allow_partial, (*read_by, *settings.also))
        except PartialSet as error:
            partial[one.name] = error
    if len(partial) == 1:
        raise next(iter(partial.values()))
    if partial:
        raise PartialSet(
            f"{', '.join(partial)}: their scores on a part of the questions are other figures than on all of them; leave "
            "--limit away, or accept that with --allow-partial"
        )
    if bare:
        raise UnknownTask(
            f"no split besides the asked one has shots for {', '.join(bare)}; ask without --num-fewshot, or something else"
        )
    task.check_options([one for one, _ in asking], flags)
    if spice and not any(ways[0].also for _, ways in asking):
        raise BadSetting("--spice scores captions, and none of the tasks asks for any; leave it away")


def _takes_shots(settings: Settings) -> bool:
    from eval_tasks import shots

    return bool(settings.num_fewshot or shots.get(settings.shot_selection).shots)


def _read(task: Task, settings: Settings, download: bool, is_looked_at: bool) -> Sequence[Sample]:
    """Read the questions once before a model is loaded, so that a missing file is told at once; fetched first, if asked.

    Some of the questions: those of tasks that make theirs only if they are looked at.
    """
    from eval_tasks import fitting
    from eval_tasks.file_task import FileTask
    from eval_tasks.plan import splits_for_shots
    from eval_tasks.task import split_of

    split = split_of(task, settings.split)
    if not isinstance(task, FileTask):
        return fitting.spread(task.samples(split, settings.data)) if is_looked_at else ()
    if download and settings.data is None:
        task.fetch([split, *(splits_for_shots(task, split) if _takes_shots(settings) else ())])
    return fitting.spread(task.samples(split, settings.data))


def _with_metrics(
    asking: Sequence[Asking], read: Sequence[Sequence[Sample]], also: Sequence[MetricName], in_every_wording: bool
) -> list[Asking]:
    """The tasks with those of the further metrics that fit each one. Raises `UnknownTask` for a metric that fits none."""
    from eval_tasks import fitting, scoring
    from eval_tasks.errors import UnknownTask
    from eval_tasks.predictions import unanswered

    wordings = [task.wordings if in_every_wording else (task.wording(ways[0].wording),) for task, ways in asking]
    items = [[unanswered(sample) for sample in samples] for samples in read]
    fits: list[list[MetricName]] = [[] for _ in asking]
    for name in also:
        unfit: dict[str, str] = {}
        for (task, _), ways_to_ask, some, fitting_here in zip(asking, wordings, items, fits, strict=True):
            reasons = [fitting.unfit(name, task, one, some) for one in ways_to_ask]
            if all(reasons):
                unfit[task.name] = reasons[0]
            else:
                fitting_here.append(name)
        if not any(name in here for here in fits):
            told = "; ".join(f"{where}: {reason}" for where, reason in unfit.items())
            hint = fitting.hint(name, asking[0][0], wordings[0][0], items[0])
            raise UnknownTask(f"--metric {name} does not fit {told}{hint}")
        for where, reason in unfit.items():
            print(f"{where}: --metric {name} is left out: {reason}", file=sys.stderr)
    for (task, ways), here in zip(asking, fits, strict=True):
        scoring.check(task, ways[0].limit, ways[0].allow_partial, here)
    return [
        (task, [replace(way, also=(*way.also, *here)) for way in ways])
        for (task, ways), here in zip(asking, fits, strict=True)
    ]


def _decoding(beams: int, length_penalty: float, temperature: float, top_p: float, seed: int) -> Decoding | None:
    """The decoding that the options ask for, None for the task's own."""
    from flamingo_lab.errors import BadSetting
    from flamingo_lab.model import Beam, Greedy, Sample, check

    if beams > 1 and temperature > 0:
        raise BadSetting("--beams and --temperature are two ways to decode; give one of them")
    how = Beam(beams, length_penalty) if beams > 1 else Sample(temperature, top_p, seed) if temperature else Greedy()
    check(how)
    return None if how == Greedy() else how


def _refuse_idle(
    num_fewshot: int, shot_selection: str, seed: int, seeds: str | None, temperature: float, top_p: float
) -> None:
    """Refuse options that would change nothing."""
    from eval_tasks import shots
    from flamingo_lab.errors import BadSetting

    if shot_selection != "random" and not num_fewshot and not shots.get(shot_selection).shots:
        raise BadSetting(f"--shot-selection {shot_selection} chooses no examples without --num-fewshot; give both")
    if seeds is not None and seed:
        raise BadSetting("--seed and --seeds both say what is drawn; give one of them")
    if top_p != 1 and not temperature:
        raise BadSetting(f"--top-p {top_p} draws nothing without --temperature; give both")


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
