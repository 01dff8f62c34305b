"""SEED-Bench: nine abilities on pictures, four options each (Li et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks.errors import BadRow
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing.options import LETTER, RANKED, RANKED_LETTERS_ALONE, SELECT
from eval_tasks.sources import NOT_THE_LAYOUT, Row, json_object, label, need, number, picture, rows_in, text
from eval_tasks.task import OF_ONE_SPLIT, Hub, Sample
from flamingo_lab.prompt import Image

KINDS = {
    1: "Scene Understanding",
    2: "Instance Identity",
    3: "Instance Attributes",
    4: "Instance Location",
    5: "Instances Counting",
    6: "Spatial Relation",
    7: "Instance Interaction",
    8: "Visual Reasoning",
    9: "Text Understanding",
}
"""The kinds of questions on pictures; those from 10 on are about videos and are left out."""

LETTERS = "ABCD"


class SEEDBench(FileTask):
    """The authors rank the options' texts by their loss; `--wording option-letter` asks for a letter, as LLaVA did."""

    name = "seed-bench"
    title = "Nine abilities on pictures, four options"
    paper = "https://arxiv.org/abs/2307.16125"
    source = "SEED-Bench.json and SEED-Bench-image/ of AILab-CVC/SEED-Bench"
    files = "SEED-Bench.json and SEED-Bench-image (https://huggingface.co/datasets/AILab-CVC/SEED-Bench)"
    hub = Hub("lmms-lab/SEED-Bench", splits={"image": "test"}, revision="74c4ea0cee96786739e4ccb97d227818a05ae752")
    licence = "Apache-2.0; pictures of CC3M under their own"
    split = "image"
    splits = ("image",)
    splits_for_shots = ()
    options = OF_ONE_SPLIT
    sizes = (14_233,)
    metrics = (MetricName("rank", "argmin"), MetricName("choice", "letter"), MetricName("choice", "llava"))
    wordings = (RANKED, LETTER, RANKED_LETTERS_ALONE, SELECT)
    max_new_tokens = 8
    example = Sample("", (), "How many cups are there?", ("B",), "", ("One", "Two", "Three", "Four"))

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """One list for pictures and videos."""
        file = need(root, "SEED-Bench.json", origin=self.files)
        images = need(root, "SEED-Bench-image", origin=self.files)
        for place, row in enumerate(rows_in(json_object(file), "questions", str(file))):
            where = f"{file}, question {place}"
            if text(row, "data_type", where) == "image":
                yield _sample(where, row, picture(images, text(row, "data_id", where), where))

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """A picture is a list here, of one."""
        for place, row in enumerate(rows):
            where = f"{root}, row {place}"
            if text(row, "data_type", where) == "image":
                held = row.get("image")
                if not isinstance(held, list) or len(held) != 1 or not isinstance(held[0], Image):
                    raise BadRow(f"{where}: the field 'image' is no list of one picture; {NOT_THE_LAYOUT}")
                yield _sample(where, row, held[0])


def _sample(where: str, row: Row, image: Image) -> Sample:
    kind = number(row, "question_type_id", where)
    return Sample(
        id=label(row, "question_id", where),
        images=(image,),
        question=text(row, "question", where),
        targets=(text(row, "answer", where),),
        document=text(row, "data_id", where),
        choices=tuple(text(row, f"choice_{letter.lower()}", where) for letter in LETTERS),
        slices={"kind": KINDS.get(kind, str(kind))},
    )


TASK = SEEDBench()
