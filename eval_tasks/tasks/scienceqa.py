"""ScienceQA: questions from school science, with a picture, a hint, both or neither (Lu et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks.errors import BadRow
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing.options import LETTER_WITH_CONTEXT, RANKED_LETTERS, SCIENCEQA_AUTHORS, SELECT
from eval_tasks.sources import Row, cell, held_in, json_object, letter, need, picture, text, texts
from eval_tasks.task import Hub, Sample
from flamingo_lab.prompt import Image

LATER_GRADES = {"grade7", "grade8", "grade9", "grade10", "grade11", "grade12"}


class ScienceQA(FileTask):
    """What papers call IMG is the slice `picture=yes`, TXT is `hint=yes` and NO is `context=none`: IMG and TXT overlap.

    Questions with the same hint are of one document.
    """

    name = "scienceqa"
    title = "School science, two to five options"
    paper = "https://arxiv.org/abs/2209.09513"
    source = "problems.json, pid_splits.json and images/ of lupantech/ScienceQA"
    files = "data/scienceqa and images of ScienceQA (https://github.com/lupantech/ScienceQA)"
    hub = Hub(
        "derek-thomas/ScienceQA", splits={"val": "validation"}, revision="f18b0a70359ebfb41f658fd564208d0355b013f4"
    )
    licence = "CC BY-NC-SA 4.0"
    splits = ("train", "val", "test", "minitrain", "minival", "minitest")
    splits_for_shots = ("train",)
    sizes = (12_726, 4_241, 4_241, 1_272, 424, 424)
    metrics = (MetricName("choice", "llava"), MetricName("choice", "scienceqa"), MetricName("rank", "sum"))
    wordings = (LETTER_WITH_CONTEXT, RANKED_LETTERS, SCIENCEQA_AUTHORS, SELECT)
    max_new_tokens = 16
    example = Sample(
        "", (), "Which is farther north?", ("B",), "", ("Rome", "Oslo"), context={"hint": "Look at the map."}
    )

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """Problems by id, and the ids of each split."""
        problems_file = need(
            root, "problems.json", "data/scienceqa/problems.json", "scienceqa/problems.json", origin=self.files
        )
        splits_file = need(problems_file.parent, "pid_splits.json", origin=self.files)
        problems, splits = json_object(problems_file), held_in(splits_file)
        for key in splits.get(split, ()):
            if key not in problems:
                raise BadRow(f"{splits_file}: the question {key} of {split} is not in {problems_file.name}")
            row, where = problems[key], f"{problems_file}, question {key}"
            image = None
            if cell(row, "image"):
                images = need(root, "images", "data/scienceqa/images", origin=self.files)
                image = picture(images, f"{text(row, 'split', where)}/{key}/{text(row, 'image', where)}", where)
            yield _sample(key, where, row, image)

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """The rows have no ids, so their numbers stand for them."""
        for place, row in enumerate(rows):
            image = row.get("image")
            yield _sample(
                f"{split}-{place}", f"{root}, {split} row {place}", row, image if isinstance(image, Image) else None
            )


def _sample(key: str, where: str, row: Row, image: Image | None) -> Sample:
    hint = cell(row, "hint")
    return Sample(
        id=key,
        images=() if image is None else (image,),
        question=text(row, "question", where),
        targets=(letter(row, "answer", where),),
        document=hint or key,
        choices=texts(row, "choices", where),
        slices={
            "picture": "no" if image is None else "yes",
            "hint": "yes" if hint else "no",
            "context": "image" if image is not None else "text" if hint else "none",
            "subject": text(row, "subject", where),
            "grades": "7-12" if text(row, "grade", where) in LATER_GRADES else "1-6",
        },
        context={"hint": hint},
    )


TASK = ScienceQA()
