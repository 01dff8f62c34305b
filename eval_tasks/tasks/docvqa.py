"""DocVQA: questions about scanned pages (Mathew et al. 2021)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import parquet
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing import PLAIN, QWEN_VL_VQA, SHORT_ANSWER, VERY_BRIEF
from eval_tasks.sources import Row, json_object, label, need, picture, rows_in, tags_in, text, texts
from eval_tasks.task import Hub, Sample
from flamingo_lab.prompt import Image

DOCUMENT = "ucsf_document_id"
"""The document in its library, all pages of it; `docId` stands for it where that is not told."""


class DocVQA(FileTask):
    """A document has several pages and questions; shots never come from the same one."""

    name = "docvqa"
    title = "Questions about scanned pages"
    paper = "https://arxiv.org/abs/2007.00398"
    source = "SPLIT/SPLIT_v1.0.json with SPLIT/documents/ of the Robust Reading Competition"
    files = "the annotations and pages of DocVQA, task 1 (https://rrc.cvc.uab.es/?ch=17)"
    hub = Hub(
        "lmms-lab/DocVQA",
        "DocVQA",
        {"val": "validation"},
        "539088ef8a8ada01ac8e2e6d4e372586748a265e",
        shots=Hub("HuggingFaceM4/DocumentVQA", revision="a44195f8f989c10d06ab4ccc98ffe9cdb6d928e4"),
    )
    licence = "for research, under the terms of the UCSF library"
    split = "val"
    splits = ("train", "val")
    splits_for_shots = ("train",)
    sizes = (39_463, 5_349)
    metrics = (MetricName("anls", "rrc"), MetricName("anls", "pix2struct"), MetricName("exact_match", "strip-lower"))
    wordings = (PLAIN, SHORT_ANSWER, VERY_BRIEF, QWEN_VL_VQA)
    max_new_tokens = 32
    example = Sample("", (), "What is the date?", ("May 1, 1990", "5/1/90"), "")

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """Pages are named by their place beside the annotations. Later files tell the kinds of questions in another name."""
        names = [f"{split}_v1.0.json", f"{split}_v1.0_withQT.json"]
        file = need(root, *(f"{split}/{name}" for name in names), *names, origin=self.files)
        for place, row in enumerate(rows_in(json_object(file), "data", str(file))):
            where = f"{file}, question {place}"
            yield _sample(where, row, picture(file.parent, text(row, "image", where), where))

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """One row a question; ids are texts here."""
        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            yield _sample(where, row, parquet.picture(row, "image", where))


def _sample(where: str, row: Row, page: Image) -> Sample:
    return Sample(
        id=label(row, "questionId", where),
        images=(page,),
        question=text(row, "question", where),
        targets=texts(row, "answers", where),
        document=text(row, DOCUMENT, where) if row.get(DOCUMENT) else label(row, "docId", where),
        slices=tags_in(row, "question_types"),
    )


TASK = DocVQA()
