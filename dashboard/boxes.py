"""Boxes that belong on a picture: what an answer says, what was right, and where a guided search has looked.

The notation is the variant of the metric `iou` that scored the run; targets are written `[x1, y1, x2, y2]` in pixels.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

NUMBER = r"\s{0,9}(-?\d{1,7}(?:\.\d{1,9})?)\s{0,9}"
FOUR = re.compile(rf"\[{NUMBER},{NUMBER},{NUMBER},{NUMBER}\]")
CORNERS = re.compile(rf"\({NUMBER},{NUMBER}\),\({NUMBER},{NUMBER}\)")
TAGGED = re.compile(rf"<box>{NUMBER},{NUMBER},{NUMBER},{NUMBER}</box>")
SCALES = {"unit": 1.0, "thousand": 1000.0, "qwen-vl": 999.0}
"""What the right and lower edge of the picture is in notations that count in parts of it."""

MOST = 100
"""Boxes that are drawn at most."""


Whose = Literal["target", "predicted", "looked"]


class Box(NamedTuple):
    """A box as shares of the picture's width and height, and whose it is."""

    whose: Whose
    left: float
    top: float
    right: float
    bottom: float
    label: str = ""


class Step(NamedTuple):
    """A place where a guided search looked: level in the picture, priority in the queue, confidence in what it saw."""

    box: Box
    level: int
    priority: float | None
    confidence: float | None
    cue: str


class Search(NamedTuple):
    """A search for one thing: its steps in order, and the boxes that it found."""

    target: str
    is_found: bool
    steps: tuple[Step, ...]
    found: tuple[Box, ...]


def answered(answer: str, targets: Sequence[str], variants: Iterable[str], size: tuple[int, int]) -> list[Box]:
    """Target and predicted boxes of a question whose metric is `iou`; `variants` are those that scored it."""
    notation = next(iter(variants), None)
    if notation is None or 0 in size:
        return []
    pixels = float(size[0]), float(size[1])
    right = [_box("target", match, pixels) for target in targets for match in FOUR.findall(target)]
    scale = SCALES.get(notation)
    unit = (scale, scale) if scale else pixels
    found = {"qwen-vl": CORNERS, "fuyu": TAGGED}.get(notation, FOUR).findall(answer)[:1]
    if notation == "fuyu":  # what is above first
        found = [(x1, y1, x2, y2) for y1, x1, y2, x2 in found]
    return [*right, *(_box("predicted", match, unit) for match in found)][:MOST]


def searches(trace: str | None, size: tuple[int, int]) -> list[Search]:
    """The searches that a sample's trace tells of; none where it is something else."""
    if not trace or 0 in size:
        return []
    try:
        held = json.loads(trace)["searches"]
        return [_search(one, size) for one in held]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return []


def _search(held: Mapping[str, Any], size: tuple[int, int]) -> Search:
    steps: list[Step] = []
    for number, visit in enumerate(held["path"], 1):
        cue = cast("Mapping[str, str]", visit.get("cue") or {})
        steps.append(
            Step(
                _sized("looked", visit["patch"], size, str(number)),
                int(visit["level"]),
                _number(visit.get("priority")),
                _number(visit.get("confidence")),
                str(cue.get("phrase", "")),
            )
        )
    found = tuple(_sized("predicted", box, size, str(held["target"])) for box in held["boxes"][:MOST])
    return Search(str(held["target"]), bool(held["is_found"]), tuple(steps), found)


def _box(whose: Whose, corners: Sequence[str], unit: tuple[float, float]) -> Box:
    x1, y1, x2, y2 = map(float, corners)
    return _inside(whose, (x1 / unit[0], y1 / unit[1], x2 / unit[0], y2 / unit[1]))


def _sized(whose: Whose, box: Sequence[float], size: tuple[int, int], label: str) -> Box:
    """From left, top, width, height in pixels."""
    x, y, width, height = map(float, box)
    corners = x / size[0], y / size[1], (x + width) / size[0], (y + height) / size[1]
    return _inside(whose, corners, label)


def _inside(whose: Whose, corners: tuple[float, float, float, float], label: str = "") -> Box:
    """A box whose parts outside of the picture are cut."""
    left, top, right, bottom = (min(1.0, max(0.0, one)) for one in corners)
    return Box(whose, left, top, right, bottom, label)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
