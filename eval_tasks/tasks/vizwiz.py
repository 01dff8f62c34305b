"""VizWiz-VQA: questions that blind people asked about their own photographs (Gurari et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import parquet
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing import IDEFICS_VIZWIZ, MAY_BE_UNANSWERABLE, OPEN_FLAMINGO_VQA, PLAIN, QWEN_VL_VQA, SHORT_ANSWER
from eval_tasks.sources import Row, json_rows, need, picture, text, texts
from eval_tasks.task import Hub, Sample


class VizWiz(FileTask):
    """Questions have no id of their own: they are named by their picture. Many cannot be answered."""

    name = "vizwiz"
    title = "Questions of blind people about their photographs"
    paper = "https://arxiv.org/abs/1802.08218"
    source = "train.json and val.json of Annotations.zip, the folders train and val, of vizwiz.org"
    files = "the annotations and images of VizWiz-VQA (https://vizwiz.org/tasks-and-datasets/vqa)"
    hub = Hub("lmms-lab/VizWiz-VQA", revision="d428a2dae984f79cf1b9d99467dfa883e0c30686", lacks=("train",))
    licence = "CC BY 4.0 [unread]"
    split = "val"
    splits = ("train", "val")
    splits_for_shots = ("train",)
    sizes = (20_523, 4_319)
    metrics = (
        MetricName("vizwiz", "authors"),
        MetricName("vizwiz", "evalai"),
        MetricName("vizwiz", "openflamingo"),
        MetricName("vizwiz", "idefics-m4"),
    )
    wordings = (PLAIN, MAY_BE_UNANSWERABLE, SHORT_ANSWER, OPEN_FLAMINGO_VQA, IDEFICS_VIZWIZ, QWEN_VL_VQA)
    max_new_tokens = 10
    example = Sample("", (), "What is this?", ("soup",), "")

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """One list a split; how sure each person was is kept, as OpenFlamingo's evaluation needs it."""
        file = need(root, f"{split}.json", f"Annotations/{split}.json", f"annotations/{split}.json", origin=self.files)
        images = need(root, split, f"images/{split}", origin=self.files)
        for place, row in enumerate(json_rows(file)):
            where = f"{file}, row {place}"
            name = text(row, "image", where)
            yield Sample(
                id=name,
                images=(picture(images, name, where),),
                question=text(row, "question", where),
                targets=texts(row, "answers", where),
                document=name,
                slices={
                    "answer_type": text(row, "answer_type", where),
                    "answerable": "yes" if row.get("answerable") else "no",
                },
                facts={"answer_confidence": texts(row, "answers", where, "answer_confidence")},
            )

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """`category` is the kind of answer; there are no confidences."""
        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            name = f"{text(row, 'question_id', where).removesuffix('.jpg')}.jpg"
            yield Sample(
                id=name,
                images=(parquet.picture(row, "image", where),),
                question=text(row, "question", where),
                targets=texts(row, "answers", where),
                document=name,
                slices={"answer_type": text(row, "category", where)},
            )


TASK = VizWiz()
