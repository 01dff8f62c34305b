"""LLaVA's answers to TextVQA, whose `question_id` is the picture's: a question is found by its picture and its words."""

from __future__ import annotations

from collections.abc import Iterator

from eval_tasks.layouts import Layout
from eval_tasks.metrics import Item, Prediction
from eval_tasks.predictions import (
    Given,
    Read,
    Said,
    all_have,
    as_text,
    field,
    identity,
    joined,
    question,
    rows,
    texts,
)
from eval_tasks.sources import size_slice

Key = tuple[str, str]


def recognises(given: Given) -> bool:
    """Rows that repeat the prompt, and right answers that know pictures."""
    return all_have(given.predictions, "question_id", "prompt", "text") and all_have(
        given.annotations, "image_id", "question", within="data"
    )


def read(given: Given) -> Read:
    """Line by line, so that a question which was answered twice counts twice.

    QUIRK: of questions with the same words about one picture the last one's right answers count for all, as in LLaVA's script.
    """
    asked = dict(_questions(given))
    return Read(joined(given, list(_said(given)), asked, by_line=True))


def _questions(given: Given) -> Iterator[tuple[Key, Item]]:
    for where, row in rows(given.annotations, "data"):
        picture, right = identity(where, row, "image_id"), texts(where, field(where, row, "answers"))
        asked = as_text(where, field(where, row, "question")).lower()
        size = size_slice(row.get("image_width"), row.get("image_height"))
        yield (picture, asked), question(identity(where, row, "question_id"), right, document=picture, slices=size)


def _said(given: Given) -> Iterator[Said]:
    for where, row in rows(given.predictions):
        asked = as_text(where, field(where, row, "prompt")).split("\n")[0].lower()
        answer = as_text(where, field(where, row, "text"))
        yield Said(where, (identity(where, row, "question_id"), asked), Prediction(answer))


LAYOUT = Layout(
    "lines of {question_id, prompt, text} with {data: [{image_id, question, answers}]} as annotations", recognises, read
)
