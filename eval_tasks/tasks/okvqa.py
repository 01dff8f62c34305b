"""OK-VQA: questions about photographs that need knowledge from elsewhere (Marino et al. 2019)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from eval_tasks import coco, okvqa_stems, parquet, vqa_files
from eval_tasks.errors import MissingData
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing import (
    BLIP2_VQA,
    IDEFICS_VQA,
    INSTRUCTBLIP_VQA,
    MAY_BE_UNANSWERABLE,
    OPEN_FLAMINGO_VQA,
    PLAIN,
    QWEN_VL_VQA,
    SHORT_ANSWER,
)
from eval_tasks.sources import Row, label, number, text, texts
from eval_tasks.task import Hub, Sample
from eval_tasks.wording import Wording

RAW = "raw-answers"
STEMMED = MetricName("vqa_accuracy", "okvqa-stemmed")

FEW = 0.02
"""Share of answers that OpenFlamingo's stemmer would change though they are the benchmark's stemmed ones: it only comes near
the authors'. [unread: no whole file of them was at hand]"""


class OKVQA(FileTask):
    """The benchmark's own answers are stemmed, so the model's are too; the flag `raw-answers` compares neither stemmed."""

    name = "okvqa"
    title = "Questions about photographs that need outside knowledge"
    paper = "https://arxiv.org/abs/1906.00067"
    source = "OpenEnded_mscoco_*_questions.json and mscoco_*_annotations.json (v1.1) of okvqa.allenai.org, photographs of COCO"
    files = (
        f"the questions and annotations of OK-VQA 1.1 (https://okvqa.allenai.org) and the photographs of {coco.SITE}"
    )
    hub = Hub(
        "lmms-lab/OK-VQA",
        splits={"val": "val2014", "train": "train2014"},
        revision="c9f858961f4095a9aeef615057b0822cce967096",
        lacks=("train",),
    )
    licence = "CC BY 4.0 [unread]; photographs under Flickr's terms"
    split = "val"
    splits = ("train", "val")
    splits_for_shots = ("train",)
    sizes = (9_009, 5_046)
    metrics = (
        STEMMED,
        MetricName("vqa_accuracy", "gt-vision-lab"),
        MetricName("vqa_accuracy", "lavis"),
        MetricName("vqa_accuracy", "openflamingo"),
    )
    wordings = (
        PLAIN,
        SHORT_ANSWER,
        MAY_BE_UNANSWERABLE,
        OPEN_FLAMINGO_VQA,
        IDEFICS_VQA,
        QWEN_VL_VQA,
        BLIP2_VQA,
        INSTRUCTBLIP_VQA,
    )
    max_new_tokens = 10
    options: ClassVar[Mapping[str, str]] = {
        RAW: "compare with people's answers as they wrote them, and leave the model's unstemmed (IDEFICS)"
    }
    example = Sample("", (), "What sport can you use this for?", ("race",), "")

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """Questions and annotations are two files a split, in VQA's form."""
        year = f"{split}2014"
        questions, annotations = f"OpenEnded_mscoco_{year}_questions.json", f"mscoco_{year}_annotations.json"
        for where, key, question, annotation in vqa_files.asked(root, questions, annotations, self.files):
            image_id = number(question, "image_id", where)
            yield Sample(
                id=key,
                images=(coco.photograph(root, year, image_id, where),),
                question=text(question, "question", where),
                targets=texts(annotation, "answers", where),
                document=coco.document(image_id),
                slices={"question_type": label(annotation, "question_type", where)},
                facts={"raw": texts(annotation, "answers", where, "raw_answer")},
            )

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """Nothing names the photograph, so its digest stands for the document; the answers are of one kind only.

        Raises `MissingData` where they are people's own, which the stemmed answers of a model do not meet.
        """
        raw: list[str] = []
        count = 0
        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            photograph, answers = parquet.picture(row, "image", where), texts(row, "answers", where)
            raw += (answer for answer in answers if not okvqa_stems.are_stems(answer))
            count += len(answers)
            yield Sample(
                id=label(row, "question_id", where),
                images=(photograph,),
                question=text(row, "question", where),
                targets=answers,
                document=photograph.digest,
                slices={"question_type": label(row, "question_type", where)},
            )
        if len(raw) > FEW * count:
            raise MissingData(
                f"{root}: {len(raw)} of {count} answers of {split} are not stemmed, {raw[0]!r} for one, and the model's "
                f"are compared stemmed; point --data to {self.files}"
            )

    def altered(self, samples: Sequence[Sample], seed: int, options: frozenset[str]) -> Sequence[Sample]:
        """With `raw-answers`, people's own words as targets."""
        if RAW not in options:
            return samples
        if not all("raw" in sample.facts for sample in samples):
            raise MissingData(
                f"{self.name}: {RAW} needs {self.files}; the data set on the hub holds one kind of answers"
            )
        return [replace(sample, targets=sample.facts["raw"]) for sample in samples]

    def metrics_of(self, wording: Wording, options: frozenset[str]) -> tuple[MetricName, ...]:
        """Raw answers are not stemmed."""
        return tuple(name for name in self.metrics if name != STEMMED) if RAW in options else self.metrics


TASK = OKVQA()
