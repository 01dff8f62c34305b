"""Tasks as tables and pages name them: with their split where the results hold several splits of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeAlias

Task: TypeAlias = tuple[str, str]
"""A task and its split."""


class OfTask(Protocol):
    """A run, or a line about some."""

    @property
    def task(self) -> str: ...

    @property
    def split(self) -> str: ...


def called(ones: Iterable[OfTask]) -> Mapping[Task, str]:
    """What each of these tasks is called: TASK, or as `--tasks` takes it TASK:SPLIT where it has several."""
    found = sorted({(one.task, one.split) for one in ones})
    splits = Counter(task for task, _ in found)
    return {(task, split): task if splits[task] == 1 else f"{task}:{split}" for task, split in found}
