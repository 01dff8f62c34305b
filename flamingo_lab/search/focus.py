"""What the answering model says is missing, and how it is shown what a search has found. Needs no torch.

After penghao-wu/vstar, vstar_bench_eval.py; arXiv 2312.14135, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from flamingo_lab.pixels import RGB, CentreCrop, ResizeShortest, resampling
from flamingo_lab.prompt import Image, Part

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MISSING = (
    "Sorry, I can not answer the question. Some visual information about the following objects is missing or unclear:"
)
"""How the model was trained to say that it has to look closer; the names follow."""

CROP_SCALE = 1.2
"""A detail shows so much more than its box, along each side."""

MOST_LONG = 2
"""Up to so many details are shown in the long form."""


class Box(NamedTuple):
    """A rectangle in pixels: its left upper corner and its size."""

    x: float
    y: float
    width: float
    height: float


class Found(NamedTuple):
    """A searched object and where it is, in pixels of the whole picture."""

    name: str
    box: Box


class Crop(NamedTuple):
    """A part of a picture, by its edges in whole pixels."""

    left: int
    top: int
    right: int
    bottom: int


def missing(answer: str) -> tuple[str, ...]:
    """The objects that an answer says it lacks, none where it is an answer indeed."""
    _, said, names = answer.rpartition(MISSING)
    if not said:
        return ()
    return tuple(name.strip() for name in names.strip().removesuffix(".").split(","))


def crop(box: Box, size: tuple[int, int]) -> Crop:
    """What is cut out of a picture of this size for a box.

    QUIRK: at the left and upper edge the crop is moved in, at the right and lower edge it is cut off (golden seal_vqa,
    object_crop_boxes).
    """

    def along(start: float, length: float, side: int) -> tuple[int, int]:
        wanted = int(math.ceil(length) * CROP_SCALE)
        first = min(max(0, int(start + length / 2) - wanted // 2), side - 1)
        return first, min(first + wanted, side)

    left, right = along(box.x, box.width, size[0])
    top, bottom = along(box.y, box.height, size[1])
    return Crop(left, top, right, bottom)


def cut_out(image: Image, box: Box, px: int, *, is_long: bool | None = None) -> Image:
    """A detail as the tower takes it: cut out of the unpadded picture and squeezed to a square of `px`."""
    picture = RGB()(image.load())
    where = crop(box, picture.size)
    square: Picture = picture.crop(where).resize((px, px), resampling("bicubic"))
    return Image(square, name=f"{image.name} {list(where)}", is_object=True, is_long=is_long)


def middle(image: Image, px: int) -> Image:
    """The middle square of a picture as the tower takes it, where the authors' code does not pad it first."""
    picture = CentreCrop(px)(ResizeShortest(px)(RGB()(image.load())))
    return Image(picture, name=image.name, is_long=image.is_long)


def focus(found: Sequence[Found], details: Sequence[Part], size: tuple[int, int]) -> Iterator[Part]:
    """What stands before a question about a picture of this size: each object's name, its detail, and where it is.

    Places are corners in the picture padded to a square, in parts of its side.
    """
    side = max(size)
    offsets = (side - size[0]) // 2, (side - size[1]) // 2
    yield "Additional visual information to focus on: "
    for number, ((name, box), detail) in enumerate(zip(found, details, strict=True)):
        left, top = box.x + offsets[0], box.y + offsets[1]
        corners = (left, top, left + box.width, top + box.height)
        place = ",".join(f"{min(max(corner / side, 0.0), 1.0):.3f}" for corner in corners)
        yield f"{name} "
        yield detail
        yield f" at location [{place}]" + ("; " if number + 1 < len(found) else ".\n")


def shown(image: Image, found: Sequence[Found], px: int) -> tuple[Image, tuple[Image, ...]]:
    """The picture and its details in the lengths that the evaluation gives them.

    QUIRK: for a single object the model was trained with the short picture, for two with the long one; the evaluation
    shows the short one whenever anything was searched (golden seal_vqa, mc_two_objects).
    """
    is_long = len(found) <= MOST_LONG
    details = tuple(cut_out(image, one.box, px, is_long=is_long) for one in found)
    return Image(image.source, name=image.name, is_long=not found), details
