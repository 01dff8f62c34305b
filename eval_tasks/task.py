"""Task and Sample: what a benchmark is made of; tasks are found by being files in `tasks/`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from eval_tasks import metrics
from eval_tasks.errors import UnknownTask
from eval_tasks.metrics import Metric, MetricName
from eval_tasks.nearest import near
from eval_tasks.wording import Reads, Wording
from flamingo_lab.model import Decoding, Greedy
from flamingo_lab.prompt import Image, Shot

if TYPE_CHECKING:
    from eval_tasks.rubrics import Rubric


@dataclass(frozen=True)
class Sample:
    """A question with its pictures and right answers.

    `document` names what other questions may share (a picture, a page): shots never come from it, and intervals treat
    its questions as dependent. `facts` is what the task's metrics need besides targets and choices, `context` what a
    wording may add to the question. `marks` are the places of the pictures in the question, where they stand inside it.
    `answer` is what a shot shows where that is none of the targets.
    """

    id: str
    images: tuple[Image, ...]
    question: str
    targets: tuple[str, ...]
    document: str
    choices: tuple[str, ...] = ()
    slices: Mapping[str, str] = field(default_factory=dict[str, str])
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    context: Mapping[str, str] = field(default_factory=dict[str, str])
    marks: tuple[str, ...] = ()
    answer: str = ""

    def shot(self, wording: Wording) -> Shot:
        """This sample as a worked example."""
        return Shot(*wording.parts(self), answer=wording.answered(self))


class Task:
    """A benchmark. A subclass states its facts and turns its source's rows into samples.

    `mean_of` names the slices whose unweighted mean is the task's overall score; without any it is the mean over all
    samples. `splits_for_shots` are tried in order. `asks_once`: a text is asked of one picture only, so that another
    question with the same text would give the answer away. `options` are the task's own flags, with what each one does.
    `hub` names the data set on the hub, `sizes` the published number of questions of each split, `extent` the size in words
    where that is not known, `example` a question in the true form. `stop` are texts that end an answer beside the model's
    own. `rubric`: how a judge grades the answers, where no metric reads them as they are.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    source: ClassVar[str]
    licence: ClassVar[str]
    split: ClassVar[str] = "test"
    splits: ClassVar[tuple[str, ...]] = ("test",)
    splits_for_shots: ClassVar[tuple[str, ...]] = ("train", "val")
    asks_once: ClassVar[bool] = False
    sizes: ClassVar[tuple[int, ...]] = ()
    extent: ClassVar[str] = ""
    hub: ClassVar[Hub | None] = None
    example: ClassVar[Sample | None] = None
    needs_data: ClassVar[bool] = True
    metrics: ClassVar[tuple[MetricName, ...]]
    wordings: ClassVar[tuple[Wording, ...]]
    mean_of: ClassVar[tuple[str, ...]] = ()
    max_new_tokens: ClassVar[int] = 16
    decoding: ClassVar[Decoding] = Greedy()
    stop: ClassVar[tuple[str, ...]] = ()
    options: ClassVar[Mapping[str, str]] = {}
    rubric: ClassVar[Rubric | None] = None
    revision: str | None = None
    """The one at which the data set on the hub is read, where it is not the task's own."""

    def samples(self, split: str, data: Path | None) -> Sequence[Sample]:
        """The split's samples, in the benchmark's own order. `data` is the benchmark's root folder."""
        raise NotImplementedError

    def version(self, data: Path | None, splits: Iterable[str] = ()) -> str | None:
        """Which version of the data is read, where its files are kept by version; `splits` are those that are read."""
        return None

    def size(self, split: str) -> int | None:
        """How many questions the split has, where that is known."""
        return dict(zip(self.splits, self.sizes, strict=False)).get(split)

    def at(self, revision: str) -> Task:
        """The task with its data set on the hub at this revision. Raises `UnknownTask` where it has none there."""
        if self.hub is None:
            raise UnknownTask(f"{self.name}@{revision}: {self.name} has no data set on the hub, so no revision of it")
        made = copy(self)
        made.revision = revision
        return made

    def altered(self, samples: Sequence[Sample], seed: int, options: frozenset[str]) -> Sequence[Sample]:
        """The samples as the task's own flags change what is asked of them; shots are never changed here."""
        return samples

    def shots_for(
        self, sample: Sample, shots: int, seed: int, data: Path | None, options: frozenset[str]
    ) -> Sequence[Sample] | None:
        """The sample's own worked examples, where the benchmark brings them; None where they come from a split."""
        return None

    def metrics_of(self, wording: Wording, options: frozenset[str]) -> tuple[MetricName, ...]:
        """What reads the answers to this wording: its own metrics, else the task's for written or for ranked answers.

        Boxes are read in the notation that is asked for.
        """
        if wording.metrics is not None:
            return wording.metrics
        if wording.box:
            return (MetricName("iou", wording.box),)
        fitting = [name for name in self.metrics if self.metric(name).needs_options == bool(wording.rank)]
        return tuple(fitting) or self.metrics

    def readable(self, reads: Reads | None) -> list[Wording]:
        """The wordings for models that read shots as this one does; all, where it does not say."""
        return [wording for wording in self.wordings if reads is None or wording.reads in (None, reads)]

    def metric(self, name: MetricName) -> Metric:
        """What one of the task's metrics is."""
        return metrics.get(name.metric, name.variant)

    def wording(self, name: str | None, reads: Reads | None = None, boxes: str = "") -> Wording:
        """The wording of this name; by default the first one written for models that read shots as this one does.

        One that asks for boxes in the notation in which the model writes them goes before.
        """
        if name is None:
            fitting = [wording for wording in self.wordings if reads and wording.reads in (None, reads)]
            its_own = [wording for wording in fitting if boxes and wording.box == boxes]
            return next(iter((*its_own, *fitting, *self.wordings)))
        for wording in self.wordings:
            if wording.name == name:
                return wording
        raise UnknownTask(f"{self.name} has no wording {name!r}; there are {', '.join(w.name for w in self.wordings)}")


@dataclass(frozen=True)
class Hub:
    """A data set on the Hugging Face hub. `config`: its files' folder, `{split}` in it is ours; `splits`: its names for ours.

    `configs`: the folder of each of our splits, where they differ; `beside`: a further folder that the questions need.
    `revision` is pinned where one is known to be good. `shots`: the data set with the splits for shots, where this one has
    none of them; its rows have the same fields. `lacks`: splits of ours that it has not; their questions are in the authors'
    own files alone. `files`: patterns of the authors' own files, where it holds those and no rows.
    """

    repository: str
    config: str | None = None
    splits: Mapping[str, str] = field(default_factory=dict[str, str])
    revision: str | None = None
    configs: Mapping[str, str] = field(default_factory=dict[str, str])
    beside: str | None = None
    shots: Hub | None = None
    lacks: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def called(self, split: str) -> str:
        """The data set's name for a split of ours."""
        return self.splits.get(split, split)

    def folders(self, split: str) -> tuple[str, ...]:
        """The folders of a split's files, its questions' first; none where the data set has no configurations."""
        held = (self.configs.get(split, self.config), self.beside)
        return tuple(one.replace("{split}", split) for one in held if one)


LEAVE_ONE_OUT = "leave-one-out"
OF_ONE_SPLIT = {
    LEAVE_ONE_OUT: "take examples from the other questions that are asked, none about the same picture or in another "
    "form of the same question: the benchmark has no split for them"
}
"""The flag of tasks that have one split with answers. It stands in the record and in tables, since it is no split of training."""

PLUS = "_plus"
"""What stands in a file's name for the `+` in a task's."""


def names() -> list[str]:
    """The names of all tasks."""
    from eval_tasks import tasks

    files = [module.name for module in pkgutil.iter_modules(tasks.__path__)]
    return sorted(file.replace(PLUS, "+").replace("_", "-") for file in files)


def get(name: str, others: Sequence[str] = ()) -> Task:
    """The task of this name. Raises `UnknownTask` with the nearest names, `others` among them."""
    if name not in names():
        found = near(name, [*names(), *others])
        hint = f"did you mean {' or '.join(found)}? (all: flab list tasks)" if found else "flab list tasks shows all"
        raise UnknownTask(f"unknown task {name!r}: {hint}")
    file = name.replace("-", "_").replace("+", PLUS)
    return importlib.import_module(f"eval_tasks.tasks.{file}").TASK


def as_read(name: str, version: str | None) -> Task:
    """The task of a run, at the revision that the run read; `version`: what the run's record says of its data, see `Task`."""
    task = get(name)
    read = dict(one.split("@", 1) for one in (version or "").split(", ") if "@" in one)
    return task.at(read[task.hub.repository]) if task.hub and task.hub.repository in read else task


def split_of(task: Task, wanted: str | None) -> str:
    """The split that is asked, the task's own by default. Raises `UnknownTask` for one that it does not have."""
    if wanted is not None and wanted not in task.splits:
        raise UnknownTask(f"{task.name} has no split {wanted!r}; there are {', '.join(task.splits)}")
    return wanted or task.split


def check_options(tasks: Sequence[Task], options: frozenset[str]) -> None:
    """Refuse an option that none of the tasks has."""
    there = sorted({option for task in tasks for option in task.options})
    who = f"{tasks[0].name} has no option" if len(tasks) == 1 else "none of the tasks has an option"
    for option in sorted(options.difference(there)):
        found = near(option, there)
        hint = f"did you mean {found[0]}?" if found else f"there is {', '.join(there) or 'none'}"
        raise UnknownTask(f"{who} {option!r}; {hint}")
