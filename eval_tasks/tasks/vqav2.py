"""VQAv2: open questions about photographs, balanced so that the picture matters (Goyal et al. 2017)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import coco, parquet, vqa_files
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing import (
    BLIP2_VQA,
    FUYU_VQA,
    IDEFICS_VQA,
    OPEN_FLAMINGO_VQA,
    PLAIN,
    QWEN_VL_VQA,
    SHORT_ANSWER,
    VERY_BRIEF,
)
from eval_tasks.sources import Row, label, number, text, texts
from eval_tasks.task import Hub, Sample
from flamingo_lab.prompt import Image


class VQAv2(FileTask):
    """Ten people answered each question. Answers of val are public, those of test are not, so val is the default."""

    name = "vqav2"
    title = "Questions about photographs"
    paper = "https://arxiv.org/abs/1612.00837"
    source = (
        "v2_OpenEnded_mscoco_*_questions.json and v2_mscoco_*_annotations.json of visualqa.org, photographs of COCO"
    )
    files = f"the questions and annotations of VQA v2 (https://visualqa.org/download.html) and the photographs of {coco.SITE}"
    hub = Hub(
        "lmms-lab/VQAv2",
        splits={"val": "validation"},
        revision="32665d35052eb4a6d4414851c3c829a72754915a",
        lacks=("train",),
    )
    licence = "CC BY 4.0 (annotations); photographs under Flickr's terms"
    split = "val"
    splits = ("train", "val")
    splits_for_shots = ("train",)
    sizes = (443_757, 214_354)
    metrics = (
        MetricName("vqa_accuracy", "gt-vision-lab-uploaded"),
        MetricName("vqa_accuracy", "gt-vision-lab"),
        MetricName("vqa_accuracy", "evalai"),
    )
    wordings = (
        PLAIN,
        SHORT_ANSWER,
        VERY_BRIEF,
        OPEN_FLAMINGO_VQA,
        IDEFICS_VQA,
        QWEN_VL_VQA,
        BLIP2_VQA,
        FUYU_VQA,
    )
    max_new_tokens = 10
    example = Sample("", (), "What colour is the cup?", ("red",), "")

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """Questions and annotations are two files a split."""
        year = f"{split}2014"
        questions, annotations = f"v2_OpenEnded_mscoco_{year}_questions.json", f"v2_mscoco_{year}_annotations.json"
        for asked in vqa_files.asked(root, questions, annotations, self.files):
            photograph = coco.photograph(root, year, number(asked.question, "image_id", asked.where), asked.where)
            yield _sample(asked.where, {**asked.annotation, **asked.question}, photograph)

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """One row a question."""
        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            yield _sample(where, row, parquet.picture(row, "image", where))


def _sample(where: str, row: Row, photograph: Image) -> Sample:
    return Sample(
        id=label(row, "question_id", where),
        images=(photograph,),
        question=text(row, "question", where),
        targets=texts(row, "answers", where),
        document=coco.document(number(row, "image_id", where)),
        slices={key: text(row, key, where) for key in ("answer_type", "question_type")},
    )


TASK = VQAv2()
