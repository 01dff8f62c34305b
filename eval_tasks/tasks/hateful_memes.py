"""Hateful Memes: does a picture with its text attack people? (Kiela et al. 2020)"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import parquet
from eval_tasks.errors import BadRow
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing.options import HATEFUL_FLAMINGO, HATEFUL_IDEFICS, HATEFUL_INSTRUCT
from eval_tasks.sources import Row, json_rows, label, need, number, picture, text
from eval_tasks.task import Hub, Sample
from flamingo_lab.prompt import Image

CLASSES = ("no", "yes")
"""The answers for the labels 0 and 1."""


class HatefulMemes(FileTask):
    """Ranks `no` and `yes`. The same text stands on several pictures, so it is what questions share."""

    name = "hateful-memes"
    title = "Pictures whose text makes them hateful"
    paper = "https://arxiv.org/abs/2005.04790"
    source = "SPLIT.jsonl and img/ of the Hateful Memes Challenge"
    files = "the files of the Hateful Memes Challenge (https://hatefulmemeschallenge.com; registration and password)"
    hub = Hub(
        "Ahren09/MMSoc_HatefulMemes",
        splits={"dev_seen": "validation", "test_seen": "test"},
        revision="c9a9a6c3ef0765622a6de0af6ebb68f323ad73ba",
        lacks=("dev_unseen", "test_unseen"),
    )
    licence = "for research only, after registration"
    split = "test_seen"
    splits = ("train", "dev_seen", "dev_unseen", "test_seen", "test_unseen")
    splits_for_shots = ("train",)
    sizes = (8_500, 500, 540, 1_000, 2_000)
    metrics = (MetricName("roc_auc", "probability"), MetricName("roc_auc", "idefics-m4"))
    wordings = (HATEFUL_FLAMINGO, HATEFUL_INSTRUCT, HATEFUL_IDEFICS)
    example = Sample("", (), "some overlaid words", ("0",), "", CLASSES, answer=CLASSES[0])

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """JSON lines, and a picture a line."""
        file = need(root, f"{split}.jsonl", f"annotations/{split}.jsonl", f"data/{split}.jsonl", origin=self.files)
        folder = root if (root / "img").is_dir() else file.parent
        for place, row in enumerate(json_rows(file)):
            where = f"{file}, line {place}"
            yield _sample(where, row, picture(folder, text(row, "img", where), where))

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """One row a picture, with the challenge's numbers, texts and labels. `img` is what IDEFICS' authors call it."""
        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            yield _sample(where, row, parquet.picture(row, "img" if "img" in row else "image", where))


def _sample(where: str, row: Row, image: Image) -> Sample:
    if "label" not in row:
        raise BadRow(f"{where}: no label in it; phase 1 of the challenge kept them back, later files have them")
    value, words = number(row, "label", where), text(row, "text", where)
    if value not in (0, 1):
        raise BadRow(f"{where}: the label is {value}, not 0 or 1")
    return Sample(
        id=label(row, "id", where),
        images=(image,),
        question=words,
        targets=(str(value),),
        document=" ".join(words.lower().split()),
        choices=CLASSES,
        facts={"positive": 1},
        answer=CLASSES[value],
    )


TASK = HatefulMemes()
