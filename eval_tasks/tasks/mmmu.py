"""MMMU: college questions of thirty subjects, with up to seven pictures inside question and options (Yue et al. 2024)."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from eval_tasks import parquet
from eval_tasks.errors import BadRow, MissingData
from eval_tasks.file_task import FileTask
from eval_tasks.metrics import MetricName
from eval_tasks.phrasing.options import MMMU_LLAVA, SELECT
from eval_tasks.sources import Row, cell, kinds_in, tags, text
from eval_tasks.task import Hub, Sample
from flamingo_lab.prompt import Image

DISCIPLINES = {
    "Art and Design": ("Art", "Art_Theory", "Design", "Music"),
    "Business": ("Accounting", "Economics", "Finance", "Manage", "Marketing"),
    "Science": ("Biology", "Chemistry", "Geography", "Math", "Physics"),
    "Health and Medicine": (
        "Basic_Medical_Science",
        "Clinical_Medicine",
        "Diagnostics_and_Laboratory_Medicine",
        "Pharmacy",
        "Public_Health",
    ),
    "Humanities and Social Science": ("History", "Literature", "Psychology", "Sociology"),
    "Tech and Engineering": (
        "Agriculture",
        "Architecture_and_Engineering",
        "Computer_Science",
        "Electronics",
        "Energy_and_Power",
        "Materials",
        "Mechanical_Engineering",
    ),
}
"""MMMU's `data_utils.py`, DOMAIN_CAT2SUB_CAT."""

SUBJECTS = {subject: discipline for discipline, subjects in DISCIPLINES.items() for subject in subjects}

MULTIPLE_CHOICE = "multiple-choice"
LETTERS = tuple(string.ascii_uppercase[:9])
"""No question has more options."""

ID = re.compile(r"[a-z]+_(\w+)_\d+")
PICTURES = 7
FIRST = "first-picture"


def slices_of(key: str, kind: str, where: str) -> dict[str, str]:
    """The groups of a question, from its id (`validation_Art_Theory_3`) and kind."""
    match = ID.fullmatch(key)
    if match is None or match[1] not in SUBJECTS:
        raise BadRow(f"{where}: {key!r} is no id of MMMU, SPLIT_SUBJECT_NUMBER")
    is_choice = kind == MULTIPLE_CHOICE
    return {"discipline": SUBJECTS[match[1]], "subject": match[1], "kind": MULTIPLE_CHOICE if is_choice else "open"}


class MMMU(FileTask):
    """Pictures stand where the question names them; `first-picture` asks as the authors' script asks LLaVA 1.5."""

    name = "mmmu"
    title = "College questions with pictures, thirty subjects"
    paper = "https://arxiv.org/abs/2311.16502"
    source = "the Parquet files of MMMU/MMMU, one folder a subject, or all subjects in one table"
    files = "the folders of MMMU's subjects (https://huggingface.co/datasets/MMMU/MMMU)"
    hub = Hub("MMMU/MMMU", revision="171b0ef74cd1704464e6940860968009d8cdd59a")
    licence = "Apache-2.0 [unread]"
    split = "validation"
    splits = ("dev", "validation")
    splits_for_shots = ("dev",)
    asks_once = True
    sizes = (150, 900)
    metrics = (MetricName("mmmu", "official"), MetricName("mmmu", "idefics-m4"))
    wordings = (MMMU_LLAVA, SELECT)
    max_new_tokens = 128
    options: ClassVar[Mapping[str, str]] = {
        FIRST: "show only the first picture, before the question, and leave the marks of pictures in the text"
    }
    example = Sample("", (), "What is the name of this chord? <image 1>", ("B",), "", ("major", "minor"))

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """The subjects' folders, in the order of the alphabet."""
        found = {subject: files for subject in sorted(SUBJECTS) if (files := parquet.files(root, split, subject))}
        if not found:
            raise MissingData(f"{root}: no {split}-*.parquet of any subject in it; it belongs to {self.files}")
        for subject, files in found.items():
            yield from self.from_hub(split, parquet.rows(files), root / subject)

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """Options, kinds of pictures, and the answers to some open questions, are lists written as text."""
        for place, row in enumerate(rows):
            where = f"{root}, {split} row {place}"
            key, kind = text(row, "id", where), text(row, "question_type", where)
            is_choice = kind == MULTIPLE_CHOICE
            numbers = [number for number in range(1, PICTURES + 1) if isinstance(row.get(f"image_{number}"), Image)]
            answer = text(row, "answer", where)
            yield Sample(
                id=key,
                images=tuple(row[f"image_{number}"] for number in numbers),
                question=text(row, "question", where),
                targets=(answer,) if is_choice or not answer.startswith("[") else _listed(answer, where),
                document=key,
                choices=_listed(text(row, "options", where), where) if is_choice else (),
                slices={
                    **slices_of(key, kind, where),
                    **kinds_in(row, "topic_difficulty", "subfield"),
                    **tags(_kinds(cell(row, "img_type"), where)),
                },
                marks=tuple(f"<image {number}>" for number in numbers),
            )

    def altered(self, samples: Sequence[Sample], seed: int, options: frozenset[str]) -> Sequence[Sample]:
        """With `first-picture`, one picture in front and the marks as words."""
        if FIRST not in options:
            return samples
        return [replace(sample, images=sample.images[:1], marks=()) for sample in samples]


def _kinds(written: str, where: str) -> tuple[str, ...]:
    """The kinds of a question's pictures: a list written as text, or one of them."""
    return _listed(written, where) if written.startswith("[") else (written,) if written else ()


def _listed(written: str, where: str) -> tuple[str, ...]:
    """A list written as Python writes one. It is read as a literal; nothing in it can be run."""
    try:
        held = ast.literal_eval(written)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        held = None
    if not isinstance(held, list) or not all(isinstance(one, str) for one in held):
        raise BadRow(f"{where}: {written[:60]!r} is no list of texts")
    return tuple(held)


TASK = MMMU()
