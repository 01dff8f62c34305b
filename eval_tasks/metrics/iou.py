"""Boxes: right where the box that a model wrote overlaps the true one by at least half of their union (RefCOCO).

Every variant reads one way of writing boxes and turns it into pixels once; none tries several and takes the best. The fact
`box` is the true one as x1, y1, x2, y2 in pixels, `size` the picture's width and height. Corners are taken as they stand:
no sorting, no clipping, no extra pixel.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from eval_tasks.metrics import Figure, Item, Metric, Outcome, Prediction, Targets, each, mean, mean_figure

OVERLAP = 0.5

NO_BOX = "no box"
NO_AREA = "box without area"

Box: TypeAlias = tuple[float, float, float, float]

# Possessive, so that a megabyte of digits is read once.
NUMBER = r"\s*+([-+]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?+)\s*+"
FOUR_NUMBERS = re.compile(rf"\[{NUMBER},{NUMBER},{NUMBER},{NUMBER}\]")
TAGGED = re.compile(rf"<box>{NUMBER},{NUMBER},{NUMBER},{NUMBER}</box>")


class Located(NamedTuple):
    """A box that was read, in pixels, and its overlap with the true one; nan where that is undefined."""

    box: Box
    iou: float


def overlap(one: Box, other: Box) -> float:
    """Intersection over union; areas have a sign, as in the authors' code; nan where the union is empty.

    In single precision like theirs, which decides close cases.
    """
    with np.errstate(all="ignore"):
        first, second = np.array(one, np.float32), np.array(other, np.float32)
        sides = np.maximum(np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2]), np.float32(0))
        shared = sides[0] * sides[1]
        areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
        return float(shared / (areas[0] + areas[1] - shared))


def xyxy(text: str, targets: Targets) -> Box | None:
    """`[x1, y1, x2, y2]`, the first in the answer, in the unit of the true box: pixels, or whatever both are in."""
    found = FOUR_NUMBERS.search(text)
    return None if found is None else (float(found[1]), float(found[2]), float(found[3]), float(found[4]))


def unit(text: str, targets: Targets) -> Box | None:
    """`[x1, y1, x2, y2]` as shares of the picture's width and height (LLaVA, lmms-eval)."""
    return _scaled(xyxy(text, targets), targets, 1)


def thousand(text: str, targets: Targets) -> Box | None:
    """`[x1, y1, x2, y2]` in thousandths of the picture's width and height."""
    return _scaled(xyxy(text, targets), targets, 1000)


def fuyu(text: str, targets: Targets) -> Box | None:
    """`<box>y1, x1, y2, x2</box>` in pixels of the picture: Fuyu writes what is above first."""
    found = TAGGED.search(text)
    return None if found is None else (float(found[2]), float(found[1]), float(found[4]), float(found[3]))


def _scaled(box: Box | None, targets: Targets, grid: float) -> Box | None:
    if box is None:
        return None
    width, height = targets.fact("size")
    across, down = width / grid, height / grid
    return box[0] * across, box[1] * down, box[2] * across, box[3] * down


def qwen_vl(text: str, targets: Targets) -> Box | None:
    """`(x1,y1),(x2,y2)`, the first in the answer, in 999ths of the picture, as Qwen-VL's `evaluate_grounding.py` reads it."""
    found = corners(text)
    if found is None:
        return None
    width, height = targets.fact("size")
    with np.errstate(all="ignore"):
        scale = np.array([width, height, width, height], np.float32)
        x1, y1, x2, y2 = (np.array(found).astype(np.float32) / np.float32(999) * scale).tolist()
    return x1, y1, x2, y2


def written(read: Callable[[str, Targets], Box | None]) -> Metric:
    """The metric for one way of writing boxes. What cannot be read is the authors' empty box, and no silent 0."""

    def rule(prediction: Prediction, targets: Targets) -> Outcome:
        box = read(prediction.text, targets)
        if box is None:
            return Outcome(0.0, Located((0.0, 0.0, 0.0, 0.0), 0.0), NO_BOX)
        value = overlap(box, targets.fact("box"))
        return Outcome(float(value >= OVERLAP), Located(box, value), "" if math.isfinite(value) else NO_AREA)

    rule.__doc__ = read.__doc__
    return each(rule, figures)


def corners(text: str) -> list[float] | None:
    """The numbers of the first `(..),(..)` on a line, two and two; None where they are not."""
    for line in text.split("\n"):
        begin = line.find("(")
        between = line.find("),(", begin + 1)
        end = line.find(")", between + 3)
        if begin >= 0 and between >= 0 and end >= 0:
            pairs = [line[begin + 1 : between].split(","), line[between + 3 : end].split(",")]
            try:
                return [float(number) for pair in pairs for number in pair] if [*map(len, pairs)] == [2, 2] else None
            except ValueError:
                return None
    return None


def figures(items: Sequence[Item], outcomes: Sequence[Outcome]) -> Mapping[str, Figure]:
    """The share of boxes that are right, and the mean overlap, where an undefined one is 0."""
    values = [outcome.read.iou if math.isfinite(outcome.read.iou) else 0.0 for outcome in outcomes]
    return {**mean(items, outcomes), "mean": mean_figure(values, [item.document for item in items])}


VARIANTS = {
    "xyxy": written(xyxy),
    "qwen-vl": written(qwen_vl),
    "thousand": written(thousand),
    "unit": written(unit),
    "fuyu": written(fuyu),
}
