"""What a run will ask: each sample with its shots as a request, checked against what would reach the model, and the run's id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from eval_tasks import looking, postprocess
from eval_tasks import shots as selections
from eval_tasks.errors import BadRow, MissingData, PromptMismatch, TaskError, UnknownTask
from eval_tasks.fitting import unread
from eval_tasks.metrics import Item, MetricName
from eval_tasks.scoring import check
from eval_tasks.shots import Looked, Pool, Shots
from eval_tasks.task import LEAVE_ONE_OUT, Sample, Task, check_options, split_of
from eval_tasks.wording import FAMILYS, Wording
from flamingo_lab.errors import BadImage, BadPrompt
from flamingo_lab.model import Decoding, Model, Rank, Request, Sent
from flamingo_lab.prompt import Prompt
from leaderboards.records import Run


@dataclass(frozen=True)
class Settings:
    """How a task is asked. None leaves a choice to the task; `options` are the task's own flags.

    `num_fewshot` 0 leaves their number to the selection, which is none for most. `allow_partial` lets a limited run be
    scored by a metric that is another figure on a part of the questions. `features` is the folder of what is kept of
    pictures, `also` are further metrics.
    """

    num_fewshot: int = 0
    shot_selection: str = "random"
    split: str | None = None
    limit: int | None = None
    data: Path | None = None
    seed: int = 0
    max_error_rate: float = 0.01
    wording: str | None = None
    options: frozenset[str] = field(default_factory=frozenset[str])
    decoding: Decoding | None = None
    max_new_tokens: int | None = None
    min_new_tokens: int = 0
    allow_partial: bool = False
    features: Path | None = None
    also: tuple[MetricName, ...] = ()


@dataclass(frozen=True)
class Asked:
    """A sample as it will be asked. Without `sent` it cannot be, and `error` says why.

    In a plan the prompt `sent` has no token ids any more: see `Naming`.
    """

    sample: Sample
    shots: Sequence[Sample]
    request: Request
    sent: Sent | None
    error: Exception | None = None

    @property
    def images(self) -> int:
        """Pictures that have to reach the model."""
        return len(self.request.prompt.images)


def as_it_is(item: Item) -> Item:
    """An answer that is read as it stands."""
    return item


def without_the_rest(cut: Callable[[str], str], item: Item) -> Item:
    """An answer without what a base model went on to write behind it."""
    return replace(item, prediction=replace(item.prediction, text=cut(item.prediction.text).strip()))


@dataclass(frozen=True)
class Plan:
    """Everything a run will ask, and the id that everything which can change an answer or a score gives it.

    `mean_of`: see `Task`; `cut`: what is cut off each answer, see `Wording`. `heard` makes of a question with its answer,
    stripped, what the metrics read. `graded`: the run whose answers a judge is asked about, in a run of a judge.
    """

    task: Task
    settings: Settings
    wording: Wording
    metrics: Sequence[MetricName]
    split: str
    decoding: Decoding
    asked: Sequence[Asked]
    run_id: str
    task_digest: str
    mean_of: Sequence[str] = ()
    cut: str = ""
    heard: Callable[[Item], Item] = as_it_is
    graded: Run | None = None

    @property
    def how(self) -> str:
        """The decoding in words."""
        if self.wording.rank:
            return f"rank({self.wording.rank})"
        facts = asdict(self.decoding)
        inside = ", ".join(f"{key}={value}" for key, value in facts.items())
        return type(self.decoding).__name__.lower() + (f"({inside})" if inside else "")


def plan(model: Model, task: Task, settings: Settings, looked: Looked = lambda what, done, total: None) -> Plan:
    """The plan of a run. Raises `TaskError` kinds for settings that the task or its data cannot satisfy.

    `looked` hears how many pictures have been looked at for shots, and how many questions are planned.
    """
    split = split_of(task, settings.split)
    selection = selections.get(settings.shot_selection)
    settings = replace(settings, num_fewshot=settings.num_fewshot or selection.shots)
    if settings.num_fewshot < 0 or (settings.limit is not None and settings.limit < 1):
        raise UnknownTask("--num-fewshot must be 0 or more and --limit 1 or more")
    lengths(task, settings)
    check_options([task], settings.options)
    if LEAVE_ONE_OUT in settings.options and not settings.num_fewshot:
        raise UnknownTask(f"{task.name}: {LEAVE_ONE_OUT} is about examples, and none are asked for (--num-fewshot)")
    wording = task.wording(settings.wording, model.about.get("reads"), model.about.get("boxes", ""))
    if wording.rank and settings.decoding:
        raise UnknownTask(
            f"{task.name}: the wording {wording.name!r} ranks options, so nothing is decoded; choose another"
        )
    own = task.metrics_of(wording, settings.options)
    for name in settings.also:
        if name not in own and (reason := unread(name, wording)):
            raise UnknownTask(f"--metric {name} does not fit {task.name}: {reason}")
    # The order of further metrics, and one that is the task's own, make no other run.
    metrics = (*own, *sorted({*settings.also}.difference(own), key=str))
    check(task, settings.limit, settings.allow_partial, metrics)
    # Altered before the limit, so that a question is the same however many are asked.
    whole = task.altered(task.samples(split, settings.data), settings.seed, settings.options)
    samples = whole[: settings.limit]
    pool = Pool((), task.name, settings.num_fewshot, settings.seed, model, samples, settings.features, looked, whole)
    shots = Shots(task, selection, pool, lambda: _pool(task, settings, split))
    decoding = settings.decoding or task.decoding
    task_digest = digest([task.name, split, asdict(wording), [str(metric) for metric in metrics]])
    naming = Naming(model.digest, task_digest, settings.max_error_rate)
    asked: list[Asked] = []
    for sample in looking.ahead(samples):
        one = _ask(model, task, settings, wording, _decoding(wording, decoding, sample), sample, shots)
        asked.append(naming.named(one))
        looked("questions planned", len(asked), len(samples))
    if len({one.sample.id for one in asked}) < len(asked):
        raise BadRow(f"{task.name}: two questions of the {split} split have the same id; its files are damaged")
    if not asked:
        raise MissingData(f"{task.name}: the {split} split holds no questions")
    cut = model.about.get("cuts", {}).get(wording.running, "") if wording.cut == FAMILYS else wording.cut
    heard = partial(without_the_rest, postprocess.get(cut)) if cut else as_it_is
    run_id = naming.run_id()
    return Plan(task, settings, wording, metrics, split, decoding, asked, run_id, task_digest, task.mean_of, cut, heard)


def lengths(task: Task, settings: Settings) -> tuple[int, int]:
    """How many new tokens an answer has, at least and at most. Raises `UnknownTask` where there is no such answer."""
    least, most = settings.min_new_tokens, settings.max_new_tokens or task.max_new_tokens
    if not 0 <= least <= most:
        raise UnknownTask(f"{task.name}: no answer has {least} new tokens at least and {most} at most")
    return least, most


def splits_for_shots(task: Task, asked: str, options: frozenset[str]) -> list[str]:
    """The splits that shots may come from where this one is asked, in the order in which they are tried.

    Never from itself, but for a benchmark of one split where that is asked for.
    """
    if LEAVE_ONE_OUT in options & task.options.keys():
        return [asked]
    return [split for split in task.splits_for_shots if split in task.splits and split != asked]


def _pool(task: Task, settings: Settings, asked: str) -> Sequence[Sample]:
    """The samples that shots come from. Raises `UnknownTask` where there are none."""
    reasons: list[str] = []
    for split in splits_for_shots(task, asked, settings.options):
        try:
            return task.samples(split, settings.data)
        except TaskError as error:
            reasons.append(str(error))
    why = "; ".join(reasons) or f"none is listed besides {asked}, which is asked"
    raise UnknownTask(f"{task.name} has no split to take shots from: {why}")


def _decoding(wording: Wording, decoding: Decoding, sample: Sample) -> Decoding:
    """How the sample is answered: its options are its own, where they are ranked."""
    return Rank(wording.options(sample), wording.rank, wording.ends) if wording.rank else decoding


def _ask(
    model: Model,
    task: Task,
    settings: Settings,
    wording: Wording,
    decoding: Decoding,
    sample: Sample,
    chosen: Shots,
) -> Asked:
    least, most = lengths(task, settings)
    request = Request(sample.id, Prompt.ask(), decoding, most, least, stop=task.stop)
    shots: Sequence[Sample] = ()
    try:
        shots = chosen.of(sample, settings.data, settings.options)
        prompt = Prompt.ask(
            *wording.parts(sample),
            shots=[chosen.shown(shot, wording) for shot in shots],
            system=wording.system,
            running=wording.running,
            separator=wording.separator,
        )
        request = replace(request, prompt=prompt)
        sent = model.sent(request)
        for image in prompt.images:
            _ = image.digest  # a picture that cannot be read is known here, before anything is asked
    except (BadImage, BadPrompt) as error:
        return Asked(sample, shots, request, None, error)
    declared = settings.num_fewshot, len(sample.images) + sum(len(shot.images) for shot in shots)
    if (sent.shots, sent.images) != declared:
        raise PromptMismatch(
            f"{task.name} {sample.id}: {sent.shots} shots and {sent.images} pictures would reach {model.name}, "
            f"but {declared[0]} and {declared[1]} were declared; nothing was asked"
        )
    return Asked(sample, shots, request, sent)


class Naming:
    """The id of a run, taken from its questions one after the other, so that a large benchmark's are never held together.

    It is that of `digest([*facts, [the identity of each question]])`.
    """

    def __init__(self, *facts: object) -> None:
        self._hash = hashlib.sha256(f"{said([*facts])[:-1]}, [".encode())
        self._count = 0

    def named(self, asked: Asked) -> Asked:
        """Take a question in; it comes back without its prompt's token ids, which nothing else needs."""
        self._hash.update(f"{', ' if self._count else ''}{said(identity(asked))}".encode())
        self._count += 1
        return replace(asked, sent=replace(asked.sent, ids=())) if asked.sent else asked

    def run_id(self) -> str:
        """The first 16 hex digits; nothing can be taken in behind it."""
        self._hash.update(b"]]")
        return self._hash.hexdigest()[:16]


def identity(asked: Asked) -> Mapping[str, Any]:
    """All of a request that can change its answer or its score."""
    request, decoding = asked.request, asked.request.decoding
    known = asked.sent is not None
    return {
        "id": asked.sample.id,
        "targets": [asked.sample.targets, asked.sample.choices, sorted(asked.sample.facts.items())],
        "slices": sorted(asked.sample.slices.items()),
        "document": asked.sample.document,
        "images": [image.digest for image in request.prompt.images] if known else str(asked.error),
        "prompt": [asked.sent.text, asked.sent.ids] if asked.sent else None,
        "decoding": [type(decoding).__name__, asdict(decoding)],
        "tokens": [request.min_new_tokens, request.max_new_tokens, request.stop, request.forbidden],
    }


def digest(held: object) -> str:
    """Hex SHA-256 of what JSON can hold."""
    return hashlib.sha256(said(held).encode()).hexdigest()


def said(held: object) -> str:
    """What JSON can hold, as it is digested."""
    return json.dumps(held, sort_keys=True)
