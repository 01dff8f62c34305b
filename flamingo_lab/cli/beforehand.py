"""What `flab eval` makes of its options before a model is loaded, and what of them it refuses."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from flamingo_lab.cli import options

if TYPE_CHECKING:
    from eval_tasks.groups import Wanted
    from eval_tasks.metrics import MetricName
    from eval_tasks.plan import Settings
    from eval_tasks.task import Sample, Task
    from flamingo_lab.model import Decoding

    Asking = tuple[Task, Sequence[Settings]]


def for_task(one: Wanted, settings: Settings, wanted: Sequence[Wanted], spice: bool) -> Settings:
    """The settings for one task; among several, each gets what it has a use for: its own flags, and data if it needs some."""
    is_alone = len(wanted) == 1
    return replace(
        settings,
        split=one.split or settings.split,
        data=settings.data if one.task.needs_data or is_alone else None,
        options=settings.options if is_alone else settings.options & one.task.options.keys(),
        also=options.spice(one.task, spice),
    )


def check(asking: Sequence[Asking], flags: frozenset[str], spice: bool) -> None:
    """Refuse what could not be asked or scored in the end, before anything is loaded."""
    from eval_tasks import scoring, shots, task
    from eval_tasks.errors import PartialSet, UnknownTask
    from eval_tasks.plan import lengths, splits_for_shots
    from flamingo_lab.errors import BadSetting

    bare: list[str] = []
    could: list[str] = []
    partial: dict[str, PartialSet] = {}
    for one, ways in asking:
        settings = ways[0]
        shots.get(settings.shot_selection).check()
        lengths(one, settings)
        split = task.split_of(one, settings.split)
        brings_own = type(one).shots_for is not task.Task.shots_for
        if _takes_shots(settings) and not brings_own and not splits_for_shots(one, split, settings.options):
            bare.append(f"{one.name}:{split}")
            could += [one.name] if task.LEAVE_ONE_OUT in one.options else []
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
        hint = f"; --task-option {task.LEAVE_ONE_OUT} takes those of {', '.join(could)} from there" if could else ""
        raise UnknownTask(
            f"no split besides the asked one has shots for {', '.join(bare)}; ask without --num-fewshot, or something "
            f"else{hint}"
        )
    task.check_options([one for one, _ in asking], flags)
    if spice and not any(ways[0].also for _, ways in asking):
        raise BadSetting("--spice scores captions, and none of the tasks asks for any; leave it away")


def _takes_shots(settings: Settings) -> bool:
    from eval_tasks import shots

    return bool(settings.num_fewshot or shots.get(settings.shot_selection).shots)


def read(task: Task, settings: Settings, download: bool, is_looked_at: bool) -> Sequence[Sample]:
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
        task.fetch([split, *(splits_for_shots(task, split, settings.options) if _takes_shots(settings) else ())])
    return fitting.spread(task.samples(split, settings.data))


def with_metrics(
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


def decoding(beams: int, length_penalty: float, temperature: float, top_p: float, seed: int) -> Decoding | None:
    """The decoding that the options ask for, None for the task's own."""
    from flamingo_lab import model
    from flamingo_lab.errors import BadSetting

    if beams > 1 and temperature > 0:
        raise BadSetting("--beams and --temperature are two ways to decode; give one of them")
    if beams > 1:
        how = model.Beam(beams, length_penalty)
    else:
        how = model.Sample(temperature, top_p, seed) if temperature else model.Greedy()
    model.check(how)
    return None if how == model.Greedy() else how


def refuse_idle(
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


def seeds(listed: str | None, one: int) -> list[int]:
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
