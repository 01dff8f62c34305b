"""Tasks as the pages name them: with their split where the results hold several splits of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from leaderboards.records import Run

Task: TypeAlias = tuple[str, str]
"""A task and its split."""


def called(runs: Sequence[Run]) -> Mapping[Task, str]:
    """What each task of these runs is called, on the page and in its address: TASK, or TASK:SPLIT where it has several."""
    found = sorted({(run.task, run.split) for run in runs})
    splits = Counter(task for task, _ in found)
    return {(task, split): task if splits[task] == 1 else f"{task}:{split}" for task, split in found}
