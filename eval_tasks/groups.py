"""Groups of tasks that are asked for by one name, as data. `NAME:SPLIT` is a task on one of its splits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from eval_tasks import task
from eval_tasks.errors import UnknownTask
from eval_tasks.lm_eval import PREFIX
from eval_tasks.task import Task

GROUPS = {
    # Flamingo, arXiv 2204.14198, table 1, as far as its benchmarks are about single pictures and are here.
    "flamingo": ("coco-caption", "flickr30k", "vqav2", "okvqa", "vizwiz", "textvqa", "hateful-memes"),
    "documents": ("docvqa", "infovqa", "chartqa", "ai2d", "ocrvqa", "textvqa"),
    "grounding": (
        "refcoco:val",
        "refcoco:testA",
        "refcoco:testB",
        "refcoco+:val",
        "refcoco+:testA",
        "refcoco+:testB",
        "refcocog:val",
        "refcocog:test",
    ),
}

EVERY = "all"


class Wanted(NamedTuple):
    """A task, and the split that was asked for with it, if one was."""

    task: Task
    split: str | None


def expand(names: str, *, download: bool = False) -> list[Wanted]:
    """The tasks that names with commas between stand for, each once. Raises `UnknownTask` with the nearest names.

    `download`: the data sets of lm-eval's tasks may be fetched.
    """
    found: dict[str, None] = {}
    for name in map(str.strip, names.split(",")):
        members = task.names() if name == EVERY else GROUPS.get(name, (name,))
        found.update(dict.fromkeys(members))
    return [one for name in found for one in _wanted(name, download=download)]


def _wanted(named: str, *, download: bool) -> list[Wanted]:
    if named.startswith(PREFIX):
        from eval_tasks.lm_eval.task import named as bridged

        return [Wanted(one, None) for one in bridged(named, download=download)]
    return [single(named, (*GROUPS, EVERY))]


def single(named: str, others: Sequence[str] = ()) -> Wanted:
    """The task that NAME or NAME:SPLIT stands for. Raises `UnknownTask` with the nearest names, `others` among them."""
    name, colon, split = named.partition(":")
    if name in others:
        raise UnknownTask(f"{named}: {name} is a group, whose tasks have their own splits; name one of its tasks")
    found = task.get(name, others)
    if colon and split not in found.splits:
        raise UnknownTask(f"{name} has no split {split!r}; there are {', '.join(found.splits)}")
    return Wanted(found, split or None)
