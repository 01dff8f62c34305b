"""Flickr30k captions (Young et al. 2014), on the splits of Karpathy and Fei-Fei (2015)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import coco, parquet
from eval_tasks.errors import MissingData
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing.captions import BRIEFLY, CAPTIONS
from eval_tasks.sources import Row, need, picture, seek, text, texts
from eval_tasks.task import Hub, Sample
from flamingo_lab.prompt import Image

KARPATHY = "dataset_flickr30k.json"


class Flickr30k(FileTask):
    """A data set on the hub holds all pictures in one split, so it needs Karpathy's file beside it, or a field `split`."""

    name = "flickr30k"
    title = "Captions of photographs of people and things"
    paper = "https://aclanthology.org/Q14-1006"
    source = f"{KARPATHY} (Karpathy's splits) and flickr30k-images/"
    files = f"{KARPATHY} (https://cs.stanford.edu/people/karpathy/deepimagesent) and the folder flickr30k-images"
    hub = Hub(
        "lmms-lab/flickr30k",
        splits={"train": "test", "val": "test"},  # its only split holds all pictures
        revision="765d117f3eec816f2bfdc2d73ebb50a6f77b86a4",
    )
    licence = "Flickr's terms, for research only"
    splits = ("train", "val", "test")
    splits_for_shots = ("train",)
    sizes = (29_000, 1_014, 1_000)
    metrics = (MetricName("captions", "ptb"),)
    wordings = (*CAPTIONS, BRIEFLY)
    max_new_tokens = 30
    example = Sample("", (), "", ("Two men cook.", "Men in a kitchen."), "")

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """Captions by split, and a folder of pictures."""
        file = need(root, KARPATHY, origin=self.files)
        images = need(root, "flickr30k-images", "flickr30k_images", "images", origin=self.files)
        for where, row, captions in coco.karpathy(file, split):
            name = text(row, "filename", where)
            yield _sample(name, picture(images, name, where), captions)

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """Of all pictures those of the split."""
        file = seek(root, KARPATHY)
        members = {text(row, "filename", where) for where, row, _ in coco.karpathy(file, split)} if file else None
        for place, row in enumerate(rows):
            where = f"{root}, row {place}"
            if members is None and "split" not in row:
                raise MissingData(
                    f"{root}: nothing says which of its pictures are Karpathy's {split}; put {KARPATHY} beside them"
                )
            name = text(row, "filename", where)
            if (row["split"] == split) if members is None else (name in members):
                yield _sample(name, parquet.picture(row, "image", where), texts(row, "caption", where))


def _sample(name: str, image: Image, captions: tuple[str, ...]) -> Sample:
    return Sample(name.partition(".")[0], (image,), "", captions, name)


TASK = Flickr30k()
