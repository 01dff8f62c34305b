"""TextCaps: captions that need what is written in the picture (Sidorov et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import parquet
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing.captions import CAPTIONS
from eval_tasks.sources import Row, json_object, need, picture, rows_in, size_slice, text, texts
from eval_tasks.task import Hub, Sample
from flamingo_lab.prompt import Image


class TextCaps(FileTask):
    """The files have a row a caption; a picture is asked about once. Its pictures are TextVQA's."""

    name = "textcaps"
    title = "Captions that need the text in the picture"
    paper = "https://arxiv.org/abs/2003.12462"
    source = "TextCaps_0.1_SPLIT.json and the train_images/ of TextVQA"
    files = "TextCaps_0.1_*.json and train_images (https://textvqa.org/textcaps/dataset)"
    hub = Hub("lmms-lab/TextCaps", revision="e9e223338832318a6161d04648871c18a024ce85")
    licence = "CC BY 4.0 [unread]"
    split = "val"
    splits = ("train", "val")
    splits_for_shots = ("train",)
    sizes = (21_953, 3_166)
    metrics = (MetricName("captions", "ptb"),)
    wordings = CAPTIONS
    max_new_tokens = 30
    example = Sample("", (), "", ("a red sign that says stop",), "")

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """The first row of each picture brings all of its captions."""
        file = need(root, f"TextCaps_0.1_{split}.json", origin=self.files)
        images = need(root, "train_images", "train_val_images/train_images", origin=self.files)
        seen: set[str] = set()
        for place, row in enumerate(rows_in(json_object(file), "data", str(file))):
            where = f"{file}, caption {place}"
            image_id = text(row, "image_id", where)
            if image_id not in seen:
                seen.add(image_id)
                yield _sample(where, row, "reference_strs", picture(images, f"{image_id}.jpg", where))

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """One row a picture; the captions are `caption_str` or, in another copy, `reference_strs`."""
        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            key = "reference_strs" if "reference_strs" in row else "caption_str"
            yield _sample(where, row, key, parquet.picture(row, "image", where))


def _sample(where: str, row: Row, captions: str, image: Image) -> Sample:
    image_id = text(row, "image_id", where)
    slices = size_slice(row.get("image_width"), row.get("image_height"))
    return Sample(image_id, (image,), "", texts(row, captions, where), image_id, slices=slices)


TASK = TextCaps()
