"""GQA: questions made from scene graphs (Hudson and Manning 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import parquet
from eval_tasks.errors import BadRow, MissingData
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName, gqa_suite
from eval_tasks.phrasing import BLIP2_VQA, PLAIN, QWEN_VL_VQA, SHORT_ANSWER
from eval_tasks.sources import NOT_THE_LAYOUT, Row, json_object, need, picture, seek, text
from eval_tasks.task import Hub, Sample
from flamingo_lab.prompt import Image

HUB = Hub(
    "lmms-lab/GQA",
    "{split}_balanced_instructions",
    beside="{split}_balanced_images",
    revision="a6e72d6e1b912da88af8b2f9eba05d5ea8ec2dd8",
)


class GQA(FileTask):
    """Balanced questions only. The answer is one word or phrase; no published model is scored on the raw text."""

    name = "gqa"
    title = "Compositional questions about photographs"
    paper = "https://arxiv.org/abs/1902.09506"
    source = "SPLIT_balanced_questions.json of questions1.2.zip and images/ of cs.stanford.edu/people/dorarad/gqa"
    files = "the balanced questions and images of GQA (https://cs.stanford.edu/people/dorarad/gqa/download.html)"
    hub = HUB
    licence = "CC BY 4.0 [unread]"
    split = "testdev"
    splits = ("train", "val", "testdev")
    splits_for_shots = ("train",)
    sizes = (943_000, 132_062, 12_578)
    metrics = (MetricName("gqa", "llava"), MetricName("gqa", "official"), MetricName("gqa", "qwen-vl"))
    wordings = (PLAIN, SHORT_ANSWER, QWEN_VL_VQA, BLIP2_VQA)
    max_new_tokens = 10
    example = Sample("", (), "Is the cup red?", ("yes",), "")

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """The questions by id, and a picture a file. Answers that are possible are in a file of their own, for some splits."""
        name = f"{split}_balanced_questions.json"
        file = need(root, name, f"questions/{name}", f"questions1.2/{name}", origin=self.files)
        images = need(root, "images", origin=self.files)
        choices_file = seek(root, f"{split}_choices.json", f"eval/{split}_choices.json")
        choices = json_object(choices_file) if choices_file else {}
        for key, row in json_object(file).items():
            where = f"{file}, question {key}"
            image_id = text(row, "imageId", where)
            yield _sample(key, where, row, picture(images, f"{image_id}.jpg", where), choices.get(key))

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """Questions and pictures are two configurations, joined by the picture's id."""
        _, pictures = HUB.folders(split)
        files = parquet.files(root, split, pictures)
        images = {row["id"]: parquet.picture(row, "image", f"{root}, {split} pictures") for row in parquet.rows(files)}
        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            image_id = text(row, "imageId", where)
            if image_id not in images:
                raise MissingData(f"{where}: no picture {image_id!r} in the configuration {pictures}")
            yield _sample(text(row, "id", where), where, row, images[image_id], None)


def _sample(key: str, where: str, row: Row, image: Image, choices: Row | None) -> Sample:
    try:
        facts, slices = gqa_suite.facts(row, choices), gqa_suite.slices(row)
    except (KeyError, TypeError) as error:
        raise BadRow(f"{where}: {error} is missing; {NOT_THE_LAYOUT}") from None
    return Sample(
        id=key,
        images=(image,),
        question=text(row, "question", where),
        targets=(text(row, "answer", where),),
        document=text(row, "imageId", where),
        slices=slices,
        facts=facts,
    )


TASK = GQA()
