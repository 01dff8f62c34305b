"""MM-Vet: free answers that need several abilities at once, graded by a judge (Yu et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from eval_tasks import parquet
from eval_tasks.errors import BadRow
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing import FREE
from eval_tasks.rubrics import MMVET
from eval_tasks.sources import Row, json_object, need, picture, tags, text
from eval_tasks.task import Hub, Sample
from flamingo_lab.prompt import Image


def slices_of(row: Any, where: str) -> dict[str, str]:
    """The capabilities that a question needs; it counts in each of them."""
    held = row.get("capability") if isinstance(row, dict) else None
    listed: list[Any] = held.split(",") if isinstance(held, str) else held if isinstance(held, list) else []
    if not listed or not all(isinstance(one, str) for one in listed):
        raise BadRow(f"{where}: no list of capabilities in it")
    return tags(one.strip() for one in listed)


class MMVet(FileTask):
    """A run keeps the answers and has no score; `flab grade` asks a judge, and `flab score` reads grades made elsewhere.

    The judge belongs to the score.
    """

    name = "mmvet"
    title = "Free answers that need several abilities"
    paper = "https://arxiv.org/abs/2308.02490"
    source = "mm-vet.json and images/ of yuweihao/MM-Vet"
    files = "mm-vet.json and images of MM-Vet (https://github.com/yuweihao/MM-Vet)"
    hub = Hub("lmms-lab/MMVet", revision="b310d12d0d9e765db953da28a7ef7ff43620dc83")
    licence = "Apache-2.0 (code)"
    splits_for_shots = ()
    sizes = (218,)
    metrics = (MetricName("grades", "mean"),)
    wordings = (FREE,)
    rubric = MMVET
    max_new_tokens = 1024
    example = Sample("", (), "What is x in the equation?", ("-1<AND>-5",), "")

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """Questions by id."""
        file = need(root, "mm-vet.json", origin=self.files)
        images = need(root, "images", origin=self.files)
        for key, row in json_object(file).items():
            where = f"{file}, {key!r}"
            name = text(row, "imagename", where)
            yield _sample(key, where, row, picture(images, name, where), name)

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """Capabilities are a text with commas here."""
        for place, row in enumerate(rows):
            where = f"{root}, row {place}"
            key = text(row, "question_id", where)
            yield _sample(key, where, row, parquet.picture(row, "image", where), key)


def _sample(key: str, where: str, row: Row, image: Image, document: str) -> Sample:
    return Sample(
        id=key,
        images=(image,),
        question=text(row, "question", where),
        targets=(text(row, "answer", where),),
        document=document,
        slices=slices_of(row, where),
    )


TASK = MMVet()
