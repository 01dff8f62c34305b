"""COCO's photographs and captions, which several benchmarks are made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from eval_tasks.sources import Row, json_object, label, need, picture, rows_in, text
from flamingo_lab.prompt import Image

SITE = "COCO (https://cocodataset.org/#download)"


def photograph(root: Path, year_split: str, image_id: int, where: str) -> Image:
    """A photograph of `train2014`, `val2014` or `test2015`, in the folder of that name."""
    folder = need(root, year_split, f"images/{year_split}", f"coco/{year_split}", origin=SITE)
    return picture(folder, f"COCO_{year_split}_{image_id:012d}.jpg", where)


def document(image_id: int) -> str:
    """What all questions about a photograph share, in whatever benchmark they are."""
    return f"coco-{image_id}"


class Captioned(NamedTuple):
    """A picture of a file in COCO's form, with its captions and where its row stands."""

    where: str
    row: Row
    captions: tuple[str, ...]


def captioned(file: Path) -> Iterator[Captioned]:
    """The pictures of a file of captions, in their order; those without a caption are left out."""
    held = json_object(file)
    captions: dict[str, list[str]] = {}
    for place, row in enumerate(rows_in(held, "annotations", str(file))):
        where = f"{file}, annotation {place}"
        captions.setdefault(label(row, "image_id", where), []).append(text(row, "caption", where))
    for place, row in enumerate(rows_in(held, "images", str(file))):
        where = f"{file}, image {place}"
        if found := captions.get(label(row, "id", where)):
            yield Captioned(where, row, tuple(found))


def karpathy(file: Path, split: str) -> Iterator[Captioned]:
    """The pictures of one of Karpathy's splits (`dataset_coco.json`, `dataset_flickr30k.json`)."""
    for place, row in enumerate(rows_in(json_object(file), "images", str(file))):
        where = f"{file}, image {place}"
        if text(row, "split", where) == split:
            sentences = rows_in(row, "sentences", where)
            yield Captioned(where, row, tuple(text(sentence, "raw", where) for sentence in sentences))
