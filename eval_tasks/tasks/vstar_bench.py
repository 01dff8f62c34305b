"""V*Bench: small things in large pictures (Wu and Xie 2024)."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

from eval_tasks import parquet
from eval_tasks.errors import BadRow, MissingData
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing.options import LETTER, RANKED, RANKED_TO_THE_END, SELECT
from eval_tasks.sources import Row, image, json_object, label, seek, text, texts
from eval_tasks.task import Hub, Sample
from eval_tasks.wording import LETTERS

KINDS = ("direct_attributes", "relative_position")
ENDINGS = (".jpg", ".jpeg", ".png", ".JPG", ".PNG")
LISTED = re.compile(r"^\(([A-Z])\) (.*)$", re.MULTILINE)
"""An option in the text of the hub's copy."""


class VStarBench(FileTask):
    """Options are ranked. In the authors' files the right one is the first, so they are shuffled, the same way each time."""

    name = "vstar-bench"
    title = "Small things in large pictures, two or four options"
    paper = "https://arxiv.org/abs/2312.14135"
    source = "direct_attributes/ and relative_position/ of craigwu/vstar_bench, a picture and a JSON file a question"
    files = "the folders direct_attributes and relative_position (https://huggingface.co/datasets/craigwu/vstar_bench)"
    hub = Hub(
        "craigwu/vstar_bench",
        revision="d9ae62c903da0c98336e85c5ee89cd863b04b4da",
        files=tuple(f"{kind}/*" for kind in KINDS),
    )
    licence = "MIT (code)"
    splits_for_shots = ()
    sizes = (191,)
    metrics = (
        MetricName("rank", "mean"),
        MetricName("choice", "llava"),
        MetricName("choice", "letter-lmms-eval"),
    )
    wordings = (RANKED_TO_THE_END, RANKED, LETTER, SELECT)
    max_new_tokens = 16
    example = Sample(
        "",
        (),
        "What is the material of the glove?",
        ("A",),
        "",
        ("The material of the glove is cotton.", "The material of the glove is rubber."),
    )

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """A file a question, beside its picture."""
        folder = seek(root, "vstar_bench") or root
        files = [file for kind in KINDS for file in sorted((folder / kind).glob("*.json"))]
        if not files:
            raise MissingData(f"{folder}: no {' or '.join(KINDS)} with JSON files in it; it belongs to {self.files}")
        for file in files:
            row, name = json_object(file), f"{file.parent.name}/{file.stem}"
            there = (file.with_suffix(ending) for ending in ENDINGS)
            picture = next((one for one in there if one.is_file()), file.with_suffix(ENDINGS[0]))
            options = list(texts(row, "options", str(file)))
            right = options[0]
            random.Random(name).shuffle(options)
            yield Sample(
                id=name,
                images=(image(picture, f"{file.parent.name}/{picture.name}"),),
                question=text(row, "question", str(file)),
                targets=(LETTERS[options.index(right)],),
                document=name,
                choices=tuple(options),
                slices={"kind": file.parent.name, **_objects(row)},
            )

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """lmms-eval's copy (lmms-lab/vstar-bench), where somebody has it: options are lines of the text, shuffled already."""
        for place, row in enumerate(rows):
            where = f"{root}, row {place}"
            words, right = text(row, "text", where), text(row, "label", where)
            options = LISTED.findall(words)
            if [letter for letter, _ in options] != [*LETTERS[: len(options)]] or right not in dict(options):
                raise BadRow(f"{where}: the text lists no options (A), (B) .. with {right!r} among them")
            yield Sample(
                id=label(row, "question_id", where),
                images=(parquet.picture(row, "image", where),),
                question=words[: words.index("(A) ")].strip(),
                targets=(right,),
                document=label(row, "question_id", where),
                choices=tuple(option.strip() for _, option in options),
                slices={"kind": text(row, "category", where)},
            )


def _objects(row: Row) -> dict[str, str]:
    """How many things the question is about, where the data names them."""
    held = row.get("target_object")
    return {"objects": str(len(held))} if isinstance(held, list) else {}


TASK = VStarBench()
