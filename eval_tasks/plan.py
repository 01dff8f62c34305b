"""What a run will ask: each sample with its shots as a request, checked against what would reach the model, and the run's id."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from eval_tasks.errors import BadRow, MissingData, PromptMismatch, TaskError, UnknownTask
from eval_tasks.metrics import MetricName
from eval_tasks.scoring import check
from eval_tasks.shots import SELECTIONS, pick
from eval_tasks.task import Sample, Task, check_options
from eval_tasks.wording import Wording
from flamingo_lab.errors import BadImage, BadPrompt
from flamingo_lab.model import Decoding, Model, Rank, Request, Sent
from flamingo_lab.prompt import Prompt


@dataclass(frozen=True)
class Settings:
    """How a task is asked. None leaves a choice to the task; `options` are the task's own flags.

    `allow_partial` lets a limited run be scored by a metric that is another figure on a part of the questions.
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
    allow_partial: bool = False


@dataclass(frozen=True)
class Asked:
    """A sample as it will be asked. Without `sent` it cannot be, and `error` says why."""

    sample: Sample
    shots: Sequence[Sample]
    request: Request
    sent: Sent | None
    error: Exception | None = None

    @property
    def images(self) -> int:
        """Pictures that have to reach the model."""
        return len(self.request.prompt.images)


@dataclass(frozen=True)
class Plan:
    """Everything a run will ask, and the id that everything which can change an answer or a score gives it."""

    task: Task
    settings: Settings
    wording: Wording
    metrics: Sequence[MetricName]
    split: str
    decoding: Decoding
    asked: Sequence[Asked]
    run_id: str
    task_digest: str

    @property
    def how(self) -> str:
        """The decoding in words."""
        if self.wording.rank:
            return f"rank({self.wording.rank})"
        facts = asdict(self.decoding)
        inside = ", ".join(f"{key}={value}" for key, value in facts.items())
        return type(self.decoding).__name__.lower() + (f"({inside})" if inside else "")


def plan(model: Model, task: Task, settings: Settings) -> Plan:
    """The plan of a run. Raises `TaskError` kinds for settings that the task or its data cannot satisfy."""
    split = settings.split or task.split
    if split not in task.splits:
        raise UnknownTask(f"{task.name} has no split {split!r}; there are {', '.join(task.splits)}")
    if settings.shot_selection not in SELECTIONS:
        raise UnknownTask(f"shot selection {settings.shot_selection!r} is none of {', '.join(SELECTIONS)}")
    if settings.num_fewshot < 0 or (settings.limit is not None and settings.limit < 1):
        raise UnknownTask("--num-fewshot must be 0 or more and --limit 1 or more")
    check_options(task, settings.options)
    wording = task.wording(settings.wording, model.about.get("reads"))
    if wording.rank and settings.decoding:
        raise UnknownTask(
            f"{task.name}: the wording {wording.name!r} ranks options, so nothing is decoded; choose another"
        )
    metrics = task.metrics_of(wording, settings.options)
    check(task, settings.limit, settings.allow_partial, metrics)
    # Altered before the limit, so that a question is the same however many are asked.
    samples = task.altered(task.samples(split, settings.data), settings.seed, settings.options)[: settings.limit]
    pool = Shots(task, settings)
    decoding = settings.decoding or task.decoding
    asked = [
        _ask(model, task, settings, wording, _decoding(wording, decoding, sample), sample, pool) for sample in samples
    ]
    task_digest = _digest([task.name, split, asdict(wording), [str(metric) for metric in metrics]])
    names = [_identity(one) for one in asked]
    if len({one.sample.id for one in asked}) < len(asked):
        raise BadRow(f"{task.name}: two questions of the {split} split have the same id; its files are damaged")
    if not asked:
        raise MissingData(f"{task.name}: the {split} split holds no questions")
    run_id = _digest([model.digest, task_digest, settings.max_error_rate, names])[:16]
    return Plan(task, settings, wording, metrics, split, decoding, asked, run_id, task_digest)


class Shots:
    """Where a task's shots come from; the pool is read when the first sample asks for one."""

    def __init__(self, task: Task, settings: Settings) -> None:
        self._task = task
        self._settings = settings
        self._pool: Sequence[Sample] | None = None

    def of(self, sample: Sample) -> Sequence[Sample]:
        """The sample's worked examples."""
        settings = self._settings
        if not settings.num_fewshot:
            return ()
        own = self._task.shots_for(sample, settings.num_fewshot, settings.seed, settings.data, settings.options)
        if own is not None:
            return own
        if self._pool is None:
            self._pool = self._read()
        selection, seed = settings.shot_selection, settings.seed
        return pick(sample, self._pool, settings.num_fewshot, selection=selection, seed=seed, task=self._task.name)

    def _read(self) -> Sequence[Sample]:
        reasons: list[str] = []
        for split in self._task.splits_for_shots:
            if split in self._task.splits:
                try:
                    return self._task.samples(split, self._settings.data)
                except TaskError as error:
                    reasons.append(str(error))
        raise UnknownTask(
            f"{self._task.name} has no split to take shots from: {'; '.join(reasons) or 'none is listed'}"
        )


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
    pool: Shots,
) -> Asked:
    limit = settings.max_new_tokens or task.max_new_tokens
    request = Request(sample.id, Prompt.ask(), decoding, limit, stop=task.stop)
    shots: Sequence[Sample] = ()
    try:
        shots = pool.of(sample)
        prompt = Prompt.ask(
            *wording.parts(sample),
            shots=[shot.shot(wording) for shot in shots],
            system=wording.system,
            running=wording.running,
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


def _identity(asked: Asked) -> Mapping[str, Any]:
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


def _digest(held: object) -> str:
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()
