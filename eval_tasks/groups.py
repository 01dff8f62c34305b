"""Groups of tasks that are asked for by one name, as data. `NAME:SPLIT` is a task on one of its splits.

`NAME@REVISION` is one whose data set is read from the hub as it was at that revision.
"""

from __future__ import annotations

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
    return [single(named)]


def single(named: str) -> Wanted:
    """The task that NAME, NAME:SPLIT, NAME@REVISION or NAME:SPLIT@REVISION stands for.

    Raises `UnknownTask` with the nearest names, those of groups among them.
    """
    asked, at, revision = named.partition("@")
    name, colon, split = asked.partition(":")
    if name in (*GROUPS, EVERY):
        members = ", ".join(GROUPS.get(name, task.names()))
        raise UnknownTask(f"{named}: {name} is a group of tasks, whose splits are their own; name one of {members}")
    found = task.get(name, (*GROUPS, EVERY))
    if colon and split not in found.splits:
        raise UnknownTask(f"{name} has no split {split!r}; there are {', '.join(found.splits)}")
    if at and not revision:
        raise UnknownTask(f"{named}: a revision of the data set is expected behind @")
    return Wanted(found.at(revision) if at else found, split or None)
