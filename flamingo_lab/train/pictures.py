"""Pictures of one coloured shape on a pale ground, drawn in batches, in the manner of easy-VQA's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flamingo_lab.pixels import CLIP_MEAN, CLIP_STD

SIDE_PX = 64

COLOURS = {
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "brown": (165, 42, 42),
    "gray": (128, 128, 128),
    "green": (0, 255, 0),
    "red": (255, 0, 0),
    "teal": (0, 128, 128),
    "yellow": (255, 255, 0),
}
SHAPES = ("circle", "rectangle", "triangle")

Kind = tuple[str, str]
"""A colour and a shape."""

KINDS: tuple[Kind, ...] = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)


@dataclass(frozen=True)
class Drawn:
    """pixels (N, 64, 64, 3) uint8, and the index into `KINDS` of each, (N,)."""

    pixels: NDArray[np.uint8]
    kinds: NDArray[np.int64]


def draw(kinds: NDArray[np.int64], random: np.random.Generator, *, small: float = 0.35) -> Drawn:
    """One picture a kind, with random size, place and ground. `small`: the share of pictures with the smallest shapes.

    Small shapes and rectangles that are nearly square are where a tower errs first, so both are frequent.
    """
    n = len(kinds)
    colour, shape = kinds // len(SHAPES), kinds % len(SHAPES)
    longest = np.where(random.random(n) < small, random.uniform(8, 14, n), random.uniform(8, 33, n))
    ratio = np.where(random.random(n) < 0.4, random.uniform(0.85, 1, n), random.uniform(0.3, 1, n))
    shortest = np.maximum(longest * ratio, 7)
    is_wide = random.random(n) < 0.5
    is_rectangle = shape == SHAPES.index("rectangle")
    width = np.where(is_rectangle & ~is_wide, shortest, longest)
    height = np.where(is_rectangle & is_wide, shortest, longest)
    is_triangle = shape == SHAPES.index("triangle")
    height = np.where(is_triangle, width * np.sqrt(3) / 2, height)
    left, top = (random.uniform(0, SIDE_PX - size) for size in (width, height))
    sharp = random.random(n) < 0.5  # easy-VQA's shapes lie on whole pixels
    left, top = (np.where(sharp, np.round(edge), edge) for edge in (left, top))
    edges = [value[:, None, None] for value in (left, top, width, height)]
    outside = np.choose(shape[:, None, None], [_ellipse(*edges), _rectangle(*edges), _triangle(*edges)])
    cover = np.clip(0.5 - outside, 0, 1)[..., None]
    ground = random.integers(230, 256, (n, 1, 1, 3))
    paint = np.array(list(COLOURS.values()))[colour][:, None, None]
    return Drawn(np.round(ground * (1 - cover) + paint * cover).astype(np.uint8), kinds)


Edge = NDArray[np.float64]

_ROWS, _COLUMNS = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(np.float64) + 0.5


def _ellipse(left: Edge, top: Edge, width: Edge, height: Edge) -> Edge:
    """Distance of each pixel's centre from the shape, negative inside, (N, 64, 64); likewise below."""
    return np.hypot(_COLUMNS - left - width / 2, _ROWS - top - width / 2) - width / 2


def _rectangle(left: Edge, top: Edge, width: Edge, height: Edge) -> Edge:
    across = np.abs(_COLUMNS - left - width / 2) - width / 2
    return np.maximum(across, np.abs(_ROWS - top - height / 2) - height / 2)


def _triangle(left: Edge, top: Edge, width: Edge, height: Edge) -> Edge:
    across = np.abs(_COLUMNS - left - width / 2)
    sides = (across * 2 / width - (_ROWS - top) / height) * (width / 2) * height / np.hypot(width / 2, height)
    return np.maximum(sides, _ROWS - top - height)


def normalised(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 64, 64, 3) uint8 -> (N, 3, 64, 64) float32, as the published pipeline gives them."""
    scaled = (pixels.astype(np.float32) / 255 - np.array(CLIP_MEAN)) / np.array(CLIP_STD)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2), dtype=np.float32)
