"""Questions and answers in VQA's form: two JSON files, joined by `question_id`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from eval_tasks.errors import BadRow
from eval_tasks.sources import Row, json_object, label, need, rows_in


class Asked(NamedTuple):
    """A question's two rows, its id, and where it stands."""

    where: str
    id: str
    question: Row
    annotation: Row


def asked(root: Path, questions: str, annotations: str, origin: str) -> Iterator[Asked]:
    """The questions in the order of their file."""
    questions_file = need(root, questions, f"questions/{questions}", origin=origin)
    annotations_file = need(root, annotations, f"annotations/{annotations}", origin=origin)
    held: dict[str, Row] = {}
    for number, row in enumerate(rows_in(json_object(annotations_file), "annotations", str(annotations_file))):
        held[label(row, "question_id", f"{annotations_file}, annotation {number}")] = row
    for number, row in enumerate(rows_in(json_object(questions_file), "questions", str(questions_file))):
        where = f"{questions_file}, question {number}"
        key = label(row, "question_id", where)
        if key not in held:
            raise BadRow(f"{where}: {annotations_file.name} has no answers to the question {key}")
        yield Asked(where, key, row, held[key])
