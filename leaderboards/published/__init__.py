"""Scores as their authors published them: one CSV a paper or model page, each row with its protocol and source."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Published:
    """One published score.

    `model`: our name of the model, empty where it is not listed; `printed_as` and `benchmark` as the source prints them;
    `task`: ours, empty where there is none; `paper`: the file's name. `shots` is a number or what stands in its place.
    `is_checked`: whether the figure was read in its source; otherwise it is told from memory.
    """

    model: str
    printed_as: str
    task: str
    benchmark: str
    split: str
    metric: str
    shots: str
    score: float
    protocol: str
    source: str
    is_checked: bool
    paper: str


@cache
def scores() -> Sequence[Published]:
    """Every published score, file by file in the order of the files' names."""
    found: list[Published] = []
    for file in sorted(FOLDER.glob("*.csv")):
        with file.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                score, is_checked = float(row.pop("score")), row.pop("is_checked") == "yes"
                found.append(Published(**row, score=score, is_checked=is_checked, paper=file.stem))
    return tuple(found)


def of(model: str) -> Sequence[Published]:
    """The scores of a listed model, in the order in which they are printed."""
    return tuple(one for one in scores() if one.model == model.lower())
