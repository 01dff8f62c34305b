"""MMMU's answers after parsing, one object by id, with the authors' file of right answers."""

from __future__ import annotations

from collections.abc import Iterator

from eval_tasks.errors import BadPredictions
from eval_tasks.layouts import Layout
from eval_tasks.metrics import Item, Prediction
from eval_tasks.predictions import Given, Read, Said, as_text, by_key, field, joined, question, texts
from eval_tasks.tasks.mmmu import LETTERS, MULTIPLE_CHOICE, slices_of


def recognises(given: Given) -> bool:
    """Objects: answers by id, and right answers with the kind of their question."""
    rights = [next(iter(content.object.values()), None) if content.object else None for content in given.annotations]
    return (
        bool(rights)
        and all(content.object for content in given.predictions)
        and all(isinstance(right, dict) and "ground_truth" in right for right in rights)
    )


def read(given: Given) -> Read:
    """One answer an id."""
    said = [
        Said(f"{content.path}, {key!r}", key, Prediction(as_text(f"{content.path}, {key!r}", answer)))
        for content in given.predictions
        for key, answer in (content.object or {}).items()
    ]
    return Read(joined(given, said, by_key(_questions(given))))


def _questions(given: Given) -> Iterator[tuple[str, str, Item]]:
    """How many options a question has is not said here; it has some, if it is one of multiple choice."""
    for content in given.annotations:
        for key, row in (content.object or {}).items():
            where = f"{content.path}, {key!r}"
            if not isinstance(row, dict):
                raise BadPredictions(f"{where}: an object with 'question_type' and 'ground_truth' is expected")
            kind = str(field(where, row, "question_type"))
            choices = LETTERS if kind == MULTIPLE_CHOICE else ()
            right = texts(where, field(where, row, "ground_truth"))
            yield where, key, question(key, right, slices=slices_of(key, kind, where), choices=choices)


LAYOUT = Layout("{id: answer} with {id: {question_type, ground_truth}} as annotations", recognises, read)
