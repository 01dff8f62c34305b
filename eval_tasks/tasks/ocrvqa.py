"""OCR-VQA: questions about book covers (Mishra et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import parquet
from eval_tasks.errors import BadRow
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing import PLAIN, QWEN_VL_VQA, SHORT_ANSWER
from eval_tasks.sources import Row, inside, json_object, label, need, number, picture, text, texts
from eval_tasks.task import Hub, Sample
from flamingo_lab.prompt import Image

SPLITS = {1: "train", 2: "val", 3: "test"}
ENDINGS = (".jpg", ".png", ".gif")


class OCRVQA(FileTask):
    """Questions about one cover give each other's answers away, so a cover is a document."""

    name = "ocrvqa"
    title = "Questions about book covers"
    paper = "https://anandmishra22.github.io/files/mishra-OCR-VQA.pdf"
    source = "dataset.json, and the covers that its loader fetches into images/"
    files = "dataset.json and images/ of OCR-VQA (https://ocr-vqa.github.io)"
    hub = Hub("howard-hou/OCR-VQA", splits={"val": "validation"}, revision="88234cc092c5f6d199b5cf3b471e3b490a69c07b")
    licence = "not stated; covers of Amazon"
    splits = ("train", "val", "test")
    splits_for_shots = ("train",)
    extent = "207,572 covers with about five questions each, over a million in all (project page)"
    metrics = (MetricName("exact_match", "strip-lower"),)
    wordings = (PLAIN, SHORT_ANSWER, QWEN_VL_VQA)
    max_new_tokens = 32
    example = Sample("", (), "Who wrote this book?", ("Leo Example",), "")

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """All splits are one object by cover; a cover's file has the ending of its address."""
        file = need(root, "dataset.json", origin=self.files)
        images = need(root, "images", origin=self.files)
        for key, row in json_object(file).items():
            where = f"{file}, cover {key}"
            if SPLITS.get(number(row, "split", where)) == split:
                names = (f"{key}{ending}" for ending in ENDINGS)
                name = next((name for name in names if inside(images, name, where).is_file()), f"{key}{ENDINGS[0]}")
                yield from _of_cover(key, where, row, picture(images, name, where))

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """One row a cover."""
        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            yield from _of_cover(label(row, "image_id", where), where, row, parquet.picture(row, "image", where))


def _of_cover(key: str, where: str, row: Row, cover: Image) -> Iterator[Sample]:
    questions, answers = texts(row, "questions", where), texts(row, "answers", where)
    if len(questions) != len(answers):
        raise BadRow(f"{where}: {len(questions)} questions and {len(answers)} answers")
    for place, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        yield Sample(
            id=f"{key}-{place}",
            images=(cover,),
            question=question,
            targets=(answer,),
            document=key,
            slices={"genre": text(row, "genre", where)} if "genre" in row else {},
        )


TASK = OCRVQA()
