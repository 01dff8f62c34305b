"""LLaVA-Bench (in the wild): conversation, description and reasoning, graded against a reference answer (Liu et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from eval_tasks import parquet
from eval_tasks.errors import BadRow
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing import FREE
from eval_tasks.rubrics import CAPTION, LLAVA_BENCH
from eval_tasks.sources import Row, json_rows, label, need, picture, seek, text
from eval_tasks.task import Hub, Sample
from flamingo_lab.prompt import Image


def category_of(name: str) -> str:
    """A category's name; the authors' reviews put the benchmark's before it."""
    return name.removeprefix("llava_bench_")


class LLaVABench(FileTask):
    """A run keeps the answers and has no score, which is mean grade over mean grade.

    `flab grade` asks a judge, and `flab score` reads reviews made elsewhere. The judge is told what is in the pictures.
    """

    name = "llava-bench"
    title = "Free answers, graded against reference answers"
    paper = "https://arxiv.org/abs/2304.08485"
    source = "questions.jsonl, answers_gpt4.jsonl, context.jsonl and images/ of liuhaotian/llava-bench-in-the-wild"
    files = "LLaVA-Bench in the wild (https://huggingface.co/datasets/liuhaotian/llava-bench-in-the-wild)"
    hub = Hub(
        "lmms-lab/llava-bench-in-the-wild",
        splits={"test": "train"},
        revision="2c88d835d509b1372066db42ab7799255dbe9da2",
    )
    licence = "Apache-2.0 [unread]"
    splits_for_shots = ()
    sizes = (60,)
    metrics = (MetricName("grades", "ratio"),)
    wordings = (FREE,)
    rubric = LLAVA_BENCH
    max_new_tokens = 1024
    example = Sample("", (), "Describe this photo in detail.", ("A harbour at dusk.",), "")

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """Questions and reference answers are two files of lines; a third says what is in the pictures, for the judge."""
        file, answers = (need(root, name, origin=self.files) for name in ("questions.jsonl", "answers_gpt4.jsonl"))
        images = need(root, "images", origin=self.files)
        right = {str(row.get("question_id")): row for row in json_rows(answers)}
        context = seek(root, "context.jsonl")
        captions = {row.get("image"): row for row in json_rows(context)} if context else {}
        for place, row in enumerate(json_rows(file)):
            where = f"{file}, line {place}"
            key, name = label(row, "question_id", where), text(row, "image", where)
            if key not in right:
                raise BadRow(f"{where}: {answers.name} has no answer to the question {key}")
            reference = text(right[key], "text", f"{answers}, question {key}")
            told = _caption(captions.get(name, {}))
            yield _sample(key, where, row, "text", reference, picture(images, name, where), name, told)

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """Reference answers stand beside their questions."""
        for place, row in enumerate(rows):
            where = f"{root}, row {place}"
            key, reference = label(row, "question_id", where), text(row, "gpt_answer", where)
            image = parquet.picture(row, "image", where)
            yield _sample(key, where, row, "question", reference, image, image.digest, _caption(row))


def _caption(row: Row) -> dict[str, str]:
    """What is in a picture: lines in the authors' file, one text on the hub."""
    held = row.get("caption")
    lines: list[Any] = held if isinstance(held, list) else [held]
    return {CAPTION: "\n".join(lines)} if all(isinstance(line, str) for line in lines) else {}


def _sample(
    key: str,
    where: str,
    row: Row,
    question: str,
    reference: str,
    image: Image,
    document: str,
    context: Mapping[str, str],
) -> Sample:
    return Sample(
        id=key,
        images=(image,),
        question=text(row, question, where),
        targets=(reference,),
        document=document,
        slices={"category": category_of(text(row, "category", where))},
        context=context,
    )


TASK = LLaVABench()
