"""POPE: is a thing in the picture, which may only be likely to be there? (Li et al. 2023)"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import coco
from eval_tasks.errors import BadRow, MissingData
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.parquet import picture as picture_in
from eval_tasks.phrasing import PLAIN, SHORT_ANSWER
from eval_tasks.sources import Row, json_rows, label, need, picture, text
from eval_tasks.task import OF_ONE_SPLIT, Hub, Sample
from flamingo_lab.prompt import Image

CATEGORIES = ("random", "popular", "adversarial")


class POPE(FileTask):
    """Each category numbers its questions anew. The revision of LLaVA's figures has 2,910 random questions, not 3,000."""

    name = "pope"
    title = "Things that are not in the picture"
    paper = "https://arxiv.org/abs/2305.10355"
    source = "output/coco/coco_pope_CATEGORY.json of RUCAIBox/POPE, photographs of COCO val2014"
    files = f"the files coco_pope_*.json of RUCAIBox/POPE (https://github.com/RUCAIBox/POPE) and val2014 of {coco.SITE}"
    hub = Hub("lmms-lab/POPE", revision="4db1276663dfa5eb8ad16a52d24c31a09e470896")
    licence = "MIT [unread]; photographs under Flickr's terms"
    splits = ("test",)
    splits_for_shots = ()
    options = OF_ONE_SPLIT
    sizes = (9_000,)
    metrics = (MetricName("pope", "official"),)
    wordings = (PLAIN, SHORT_ANSWER)
    mean_of = tuple(f"category={category}" for category in CATEGORIES)
    max_new_tokens = 8
    example = Sample("", (), "Is there a cup in the image?", ("yes",), "")

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """A file a category, of JSON lines in spite of its ending."""
        for category in CATEGORIES:
            name = f"coco_pope_{category}.json"
            file = need(root, name, f"output/coco/{name}", f"coco/{name}", origin=self.files)
            photographs = need(root, "val2014", "images/val2014", "coco/val2014", origin=self.files)
            for place, row in enumerate(json_rows(file)):
                where = f"{file}, line {place}"
                photograph = picture(photographs, text(row, "image", where), where)
                yield _sample(where, row, photograph, category, row["image"], "text", "label")

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """All categories in one table, with other names of the fields. One that is missing would change the mean."""
        missing = set(CATEGORIES)
        for place, row in enumerate(rows):
            where = f"{root}, row {place}"
            category, photograph = text(row, "category", where), picture_in(row, "image", where)
            missing.discard(category)
            yield _sample(where, row, photograph, category, text(row, "image_source", where), "question", "answer")
        if missing:
            raise MissingData(
                f"{root}: no questions of {' and '.join(sorted(missing))}, and the score is the mean of all three categories"
            )


def _sample(where: str, row: Row, photograph: Image, category: str, name: str, question: str, answer: str) -> Sample:
    right = text(row, answer, where).lower()
    if right not in ("yes", "no"):
        raise BadRow(f"{where}: the field {answer!r} is {right!r}, not yes or no")
    return Sample(
        id=f"{category}-{label(row, 'question_id', where)}",
        images=(photograph,),
        question=text(row, question, where),
        targets=(right,),
        document=name,
        slices={"category": category},
    )


TASK = POPE()
