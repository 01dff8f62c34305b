"""COCO captions (Chen et al. 2015), on the splits of Karpathy and Fei-Fei (2015)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import coco, parquet
from eval_tasks.errors import MissingData
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing.captions import BRIEFLY, CAPTIONS, FUYU_CAPTION, IN_GENERAL
from eval_tasks.sources import Row, need, number, seek, size_slice, text, texts
from eval_tasks.task import Hub, Sample

KARPATHY = "dataset_coco.json"
PLACES = (KARPATHY, f"annotations/{KARPATHY}")
WHOLE = "val2014"


class COCOCaption(FileTask):
    """`test` is Karpathy's, as in papers; `val2014` is all of COCO's val, whose CIDEr is another figure.

    The data set on the hub holds COCO's own splits, so all but `val2014` need Karpathy's file beside it.
    """

    name = "coco-caption"
    title = "Captions of photographs"
    paper = "https://arxiv.org/abs/1504.00325"
    source = f"{KARPATHY} (Karpathy's splits), annotations/captions_*2014.json and the photographs of COCO"
    files = (
        f"{KARPATHY} (https://cs.stanford.edu/people/karpathy/deepimagesent), captions and photographs of {coco.SITE}"
    )
    hub = Hub(
        "lmms-lab/COCO-Caption",
        splits=dict.fromkeys(("restval", "val", "test", WHOLE), "val"),
        revision="b3084f654c01cc3bc33211c8701bef2d9fd1e81f",
        lacks=("train",),
    )
    licence = "CC BY 4.0 (annotations) [unread]; photographs under Flickr's terms"
    splits = ("train", "restval", "val", "test", WHOLE)
    splits_for_shots = ("train",)
    sizes = (82_783, 30_504, 5_000, 5_000, 40_504)
    metrics = (MetricName("captions", "ptb"),)
    wordings = (*CAPTIONS, BRIEFLY, IN_GENERAL, FUYU_CAPTION)
    max_new_tokens = 30
    example = Sample("", (), "", ("A cup on a table.", "There is a red cup."), "")

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """The splits' captions from Karpathy's file; all of val from COCO's own."""
        if split == WHOLE:
            name = f"captions_{WHOLE}.json"
            file = need(root, f"annotations/{name}", name, origin=self.files)
            yield from whole_year(root, WHOLE, file)
            return
        file = need(root, *PLACES, origin=self.files)
        for where, row, captions in coco.karpathy(file, split):
            image_id = number(row, "cocoid", where)
            yield Sample(
                id=str(image_id),
                images=(coco.photograph(root, text(row, "filepath", where), image_id, where),),
                question="",
                targets=captions,
                document=coco.document(image_id),
            )

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """One row a picture, all captions as `answer`; of COCO's val those of Karpathy's split."""
        members = None if split == WHOLE else self._members(split, root)
        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            image_id = number(row, "id", where)
            if members is None or image_id in members:
                yield Sample(
                    id=str(image_id),
                    images=(parquet.picture(row, "image", where),),
                    question="",
                    targets=texts(row, "answer", where),
                    document=coco.document(image_id),
                    slices=size_slice(row.get("width"), row.get("height")),
                )

    def _members(self, split: str, root: Path) -> set[int]:
        """The pictures of one of Karpathy's splits."""
        file = seek(root, *PLACES)
        if file is None:
            raise MissingData(
                f"{root}: nothing says which of its pictures are Karpathy's {split}; put {KARPATHY} beside them, or ask "
                f"all of them with --split {WHOLE}"
            )
        return {number(row, "cocoid", where) for where, row, _ in coco.karpathy(file, split)}


def whole_year(root: Path, year: str, file: Path) -> Iterator[Sample]:
    """All captioned photographs of a file of COCO's captions."""
    for where, row, captions in coco.captioned(file):
        image_id = number(row, "id", where)
        yield Sample(
            id=str(image_id),
            images=(coco.photograph(root, year, image_id, where),),
            question="",
            targets=captions,
            document=coco.document(image_id),
            slices=size_slice(row.get("width"), row.get("height")),
        )


TASK = COCOCaption()
