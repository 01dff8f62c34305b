"""Boxes as models write them, one notation each: the other direction of what the metric `iou` reads.

A box is x1, y1, x2, y2 in pixels, a size the picture's width and height.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Numbers = Sequence[float]


def written(notation: str, box: Numbers, size: Numbers) -> str:
    """A box in the notation of this name, a variant of the metric `iou`."""
    return NOTATIONS[notation](box, size)


def xyxy(box: Numbers, size: Numbers) -> str:
    """Pixels."""
    return "[" + ", ".join(f"{number:g}" for number in box) + "]"


def unit(box: Numbers, size: Numbers) -> str:
    """Shares of width and height with two decimals, as LLaVA was trained."""
    return "[" + ", ".join(f"{share:.2f}" for share in _shares(box, size)) + "]"


def thousand(box: Numbers, size: Numbers) -> str:
    """Thousandths of width and height."""
    return "[" + ", ".join(str(round(1000 * share)) for share in _shares(box, size)) + "]"


def qwen_vl(box: Numbers, size: Numbers) -> str:
    """Qwen-VL's corners, in 999ths of width and height."""
    x1, y1, x2, y2 = (int(999 * share) for share in _shares(box, size))
    return f"({x1},{y1}),({x2},{y2})"


def fuyu(box: Numbers, size: Numbers) -> str:
    """Fuyu's tags, what is above first."""
    x1, y1, x2, y2 = map(round, box)
    return f"<box>{y1}, {x1}, {y2}, {x2}</box>"


def _shares(box: Numbers, size: Numbers) -> list[float]:
    width, height = size
    return [number / whole for number, whole in zip(box, (width, height, width, height), strict=True)]


NOTATIONS: dict[str, Callable[[Numbers, Numbers], str]] = {
    "xyxy": xyxy,
    "unit": unit,
    "thousand": thousand,
    "qwen-vl": qwen_vl,
    "fuyu": fuyu,
}
