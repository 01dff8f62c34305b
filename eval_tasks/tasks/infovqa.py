"""InfographicVQA: questions about infographics (Mathew et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import parquet
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing import PLAIN, QWEN_VL_VQA, SHORT_ANSWER
from eval_tasks.sources import Row, json_object, label, need, picture, rows_in, tags, text, texts
from eval_tasks.task import Hub, Sample
from flamingo_lab.prompt import Image

GROUPS = ("answer_type", "evidence", "operation/reasoning")
"""Fields by which the competition's script splits the score, in its own spelling."""


class InfographicVQA(FileTask):
    """An answer of several parts is right in any order of them: all orders are among the targets."""

    name = "infovqa"
    title = "Questions about infographics"
    paper = "https://arxiv.org/abs/2104.12756"
    source = "infographicsVQA_SPLIT_v1.0.json with its pictures, of the Robust Reading Competition"
    files = "the annotations and pictures of InfographicVQA, task 3 (https://rrc.cvc.uab.es/?ch=17)"
    hub = Hub("lmms-lab/DocVQA", "InfographicVQA", {"val": "validation"}, "539088ef8a8ada01ac8e2e6d4e372586748a265e")
    licence = "for research [unread]"
    split = "val"
    splits = ("train", "val")
    splits_for_shots = ("train",)
    sizes = (23_946, 2_801)
    metrics = (MetricName("anls", "rrc"), MetricName("exact_match", "strip-lower"))
    wordings = (PLAIN, SHORT_ANSWER, QWEN_VL_VQA)
    max_new_tokens = 32
    example = Sample("", (), "What percent of people own a phone?", ("50%",), "")

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """One file a split, all pictures in one folder."""
        name = f"infographicsVQA_{split}_v1.0.json"
        file = need(root, name, f"{split}/{name}", origin=self.files)
        images = need(root, "infographicsvqa_images", "infographicVQA_images", "images", origin=self.files)
        for place, row in enumerate(rows_in(json_object(file), "data", str(file))):
            where = f"{file}, question {place}"
            picture_name = text(row, "image_local_name", where)
            yield _sample(where, row, picture(images, picture_name, where), picture_name)

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """One row a question; the picture's address names it."""
        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            yield _sample(where, row, parquet.picture(row, "image", where), text(row, "image_url", where))


def _sample(where: str, row: Row, image: Image, document: str) -> Sample:
    groups = [name for group in GROUPS if isinstance(row.get(group), list) for name in row[group]]
    return Sample(
        id=label(row, "questionId", where),
        images=(image,),
        question=text(row, "question", where),
        targets=texts(row, "answers", where),
        document=document,
        slices=tags(groups),
    )


TASK = InfographicVQA()
