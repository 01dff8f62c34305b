"""LLaVA-Bench (in the wild): conversation, description and reasoning, graded against a reference answer (Liu et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import parquet
from eval_tasks.errors import BadRow
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing import FREE
from eval_tasks.sources import Row, json_rows, label, need, picture, text
from eval_tasks.task import Hub, Sample
from flamingo_lab.prompt import Image


def category_of(name: str) -> str:
    """A category's name; the authors' reviews put the benchmark's before it."""
    return name.removeprefix("llava_bench_")


class LLaVABench(FileTask):
    """A run keeps the answers and has no score; `flab score` makes one of a judge's reviews: mean grade over mean grade."""

    name = "llava-bench"
    title = "Free answers, graded against reference answers"
    paper = "https://arxiv.org/abs/2304.08485"
    source = "questions.jsonl, answers_gpt4.jsonl and images/ of liuhaotian/llava-bench-in-the-wild"
    files = "LLaVA-Bench in the wild (https://huggingface.co/datasets/liuhaotian/llava-bench-in-the-wild)"
    hub = Hub("lmms-lab/llava-bench-in-the-wild", splits={"test": "train"})
    licence = "Apache-2.0 [unread]"
    splits_for_shots = ()
    sizes = (60,)
    metrics = (MetricName("grades", "ratio"),)
    wordings = (FREE,)
    max_new_tokens = 1024
    example = Sample("", (), "Describe this photo in detail.", ("A harbour at dusk.",), "")

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """Questions and reference answers are two files of lines."""
        file, answers = (need(root, name, origin=self.files) for name in ("questions.jsonl", "answers_gpt4.jsonl"))
        images = need(root, "images", origin=self.files)
        right = {str(row.get("question_id")): row for row in json_rows(answers)}
        for place, row in enumerate(json_rows(file)):
            where = f"{file}, line {place}"
            key, name = label(row, "question_id", where), text(row, "image", where)
            if key not in right:
                raise BadRow(f"{where}: {answers.name} has no answer to the question {key}")
            reference = text(right[key], "text", f"{answers}, question {key}")
            yield _sample(key, where, row, "text", reference, picture(images, name, where), name)

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """Reference answers stand beside their questions."""
        for place, row in enumerate(rows):
            where = f"{root}, row {place}"
            key, reference = label(row, "question_id", where), text(row, "gpt_answer", where)
            image = parquet.picture(row, "image", where)
            yield _sample(key, where, row, "question", reference, image, image.digest)


def _sample(key: str, where: str, row: Row, question: str, reference: str, image: Image, document: str) -> Sample:
    return Sample(
        id=key,
        images=(image,),
        question=text(row, question, where),
        targets=(reference,),
        document=document,
        slices={"category": category_of(text(row, "category", where))},
    )


TASK = LLaVABench()
