"""nocaps: captions of things that COCO's captions do not name (Agrawal et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import coco, parquet
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing.captions import CAPTIONS
from eval_tasks.sources import Row, image, inside, label, need, size_slice, text, texts
from eval_tasks.task import Hub, Sample
from eval_tasks.tasks.coco_caption import whole_year

SHOTS = "coco-train"


class NoCaps(FileTask):
    """It has no training split: shots are photographs of COCO train2014, which lie in the same root."""

    name = "nocaps"
    title = "Captions of things that are rare in captions"
    paper = "https://arxiv.org/abs/1812.08658"
    source = (
        "nocaps_val_4500_captions.json and the pictures of its addresses; for shots, COCO's train2014 with captions"
    )
    files = f"nocaps_val_4500_captions.json and its pictures (https://nocaps.org/download); shots: {coco.SITE}"
    hub = Hub(
        "lmms-lab/NoCaps",
        splits={"val": "validation"},
        revision="a26b3fe1e0021164ec430c57c48085d58f2fe922",
        lacks=(SHOTS,),
    )
    licence = "CC BY 2.0 (pictures) [unread]"
    split = "val"
    splits = ("val", SHOTS)
    splits_for_shots = (SHOTS,)
    sizes = (4_500, 82_783)
    metrics = (MetricName("captions", "ptb"),)
    wordings = CAPTIONS
    max_new_tokens = 30
    example = Sample("", (), "", ("A toy on a shelf.",), "")

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """A file in COCO's form that tells each picture's domain."""
        if split == SHOTS:
            name = "captions_train2014.json"
            yield from whole_year(root, "train2014", need(root, f"annotations/{name}", name, origin=self.files))
            return
        file = need(
            root, "nocaps_val_4500_captions.json", "annotations/nocaps_val_4500_captions.json", origin=self.files
        )
        images = need(root, "images", "val", "validation", origin=self.files)
        for where, row, captions in coco.captioned(file):
            name = text(row, "file_name", where)
            yield Sample(
                id=label(row, "id", where),
                images=(image(inside(images, name, where), name),),
                question="",
                targets=captions,
                document=name,
                slices={"domain": text(row, "domain", where), **size_slice(row.get("width"), row.get("height"))},
            )

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """One row a picture; not every copy of the data set tells the domain."""
        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            domain = row.get("image_domain", row.get("domain"))
            yield Sample(
                id=label(row, "image_id", where),
                images=(parquet.picture(row, "image", where),),
                question="",
                targets=texts(row, "annotations_captions", where),
                document=label(row, "image_open_images_id", where),
                slices={
                    **({"domain": domain} if isinstance(domain, str) else {}),
                    **size_slice(row.get("image_width"), row.get("image_height")),
                },
            )


TASK = NoCaps()
