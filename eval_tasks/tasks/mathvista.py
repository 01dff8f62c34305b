"""MathVista: mathematical questions about pictures, with options or a number as answer (Lu et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eval_tasks import parquet
from eval_tasks.errors import BadRow
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing.options import MATHVISTA_AUTHORS, MATHVISTA_FILE
from eval_tasks.sources import (
    NOT_THE_LAYOUT,
    Row,
    cell,
    json_object,
    kinds_in,
    label,
    need,
    picture,
    size_slice,
    tags_in,
    text,
    texts,
)
from eval_tasks.task import Hub, Sample
from flamingo_lab.prompt import Image

HINTS = {
    "text": "Please answer the question and provide the correct option letter, e.g., A, B, C, D, at the end.",
    "integer": "Please answer the question requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end.",
    "float 1": "Please answer the question requiring a floating-point number with one decimal place and provide the final "
    "value, e.g., 1.2, 1.3, 1.4, at the end.",
    "float 2": "Please answer the question requiring a floating-point number with two decimal places and provide the final "
    "value, e.g., 1.23, 1.34, 1.45, at the end.",
    "list": "Please answer the question requiring a Python list as an answer and provide the final list, e.g., [1, 2, 3], "
    "[1.2, 1.3, 1.4], at the end.",
}
"""lupantech/MathVista `build_query.py`, by the kind of answer and its decimals."""


class MathVista(FileTask):
    """What the authors' rules cannot read goes to a judge there and counts as unparsed here; `extraction` says how much."""

    name = "mathvista"
    title = "Mathematics in pictures"
    paper = "https://arxiv.org/abs/2310.02255"
    source = "data/testmini.json and images/ of lupantech/MathVista"
    files = "data/testmini.json and images of MathVista (https://github.com/lupantech/MathVista)"
    hub = Hub("AI4Math/MathVista", revision="2b6ad69445fbb5695c9b165475e8decdbeb97747")
    licence = "CC BY-SA 4.0, not for training"
    split = "testmini"
    splits = ("testmini",)
    splits_for_shots = ()
    asks_once = True
    sizes = (1_000,)
    metrics = (MetricName("mathvista", "rules"), MetricName("mathvista", "extraction"))
    wordings = (MATHVISTA_AUTHORS, MATHVISTA_FILE)
    max_new_tokens = 512
    example = Sample(
        "", (), "what is the total volume? (Unit: g)", ("1000",), "", context={"hint": f"Hint: {HINTS['integer']}"}
    )

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """Questions by id; pictures are named by their place in the root."""
        file = need(root, f"data/{split}.json", f"{split}.json", origin=self.files)
        for key, row in json_object(file).items():
            where = f"{file}, question {key}"
            yield _sample(key, where, row, picture(root, text(row, "image", where), where))

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """`image` is the picture's name here, as in the original files."""
        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            yield _sample(label(row, "pid", where), where, row, parquet.picture(row, "decoded_image", where))


def _sample(key: str, where: str, row: Row, image: Image) -> Sample:
    unit, about = cell(row, "unit"), row.get("metadata")
    if not isinstance(about, dict):
        raise BadRow(f"{where}: the field 'metadata' is no object; {NOT_THE_LAYOUT}")
    question, kind = text(row, "question", where), text(row, "answer_type", where)
    return Sample(
        id=key,
        images=(image,),
        question=f"{question} (Unit: {unit})" if unit else question,
        targets=(text(row, "answer", where),),
        document=text(row, "image", where),
        choices=texts(row, "choices", where) if row.get("choices") else (),
        slices={
            **{name: text(about, name, where) for name in ("task", "category", "context", "grade")},
            **kinds_in(row, "question_type", "answer_type"),
            **kinds_in(about, "source", "language"),
            **tags_in(about, "skills"),
            **size_slice(about.get("img_width"), about.get("img_height")),
        },
        facts={
            "question_type": text(row, "question_type", where),
            "answer_type": kind,
            "precision": row.get("precision"),
        },
        context={"hint": f"Hint: {_hint(kind, row, where)}", "query": cell(row, "query")},
    )


def _hint(kind: str, row: Row, where: str) -> str:
    precision = row.get("precision")
    key = f"float {precision:.0f}" if kind == "float" and isinstance(precision, int | float) else kind
    if key not in HINTS:
        raise BadRow(f"{where}: an answer of the kind {key!r} is none of {', '.join(HINTS)}")
    return HINTS[key]


TASK = MathVista()
