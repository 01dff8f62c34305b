"""MMMU's raw responses as its authors' scripts write them: a list a subject, each row with its gold answer."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from eval_tasks.errors import BadPredictions
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
    question,
    refuse_lacking,
    rows,
    texts,
    unique,
)
from eval_tasks.tasks.mmmu import MULTIPLE_CHOICE, SUBJECTS, slices_of


def recognises(given: Given) -> bool:
    """Rows with a response and the kind of their question."""
    return all_have(given.predictions, "id", "question_type", "answer", "response")


def read(given: Given) -> Read:
    """Every row is a question with its answer; a subject without any is refused unless that is allowed."""
    held = list(_rows(given))
    unique(said for said, _ in held)
    refuse_lacking(given, "subjects", SUBJECTS, {item.slices["subject"] for _, item in held})
    return Read([replace(item, prediction=said.prediction) for said, item in held])


def _rows(given: Given) -> Iterator[tuple[Said, Item]]:
    for where, row in rows(given.predictions):
        key, kind = identity(where, row, "id"), str(field(where, row, "question_type"))
        choices = _choices(where, row) if kind == MULTIPLE_CHOICE else ()
        right = texts(where, field(where, row, "answer"))
        item = question(key, right, slices=slices_of(key, kind, where), choices=choices)
        yield Said(where, key, Prediction(as_text(where, field(where, row, "response")))), item


def _choices(where: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    """The options' texts. The letters have to be the first ones of the alphabet, as the metric names options by place."""
    held, letters = row.get("index2ans"), row.get("all_choices")
    if (
        not isinstance(held, dict)
        or not held
        or [*held] != letters
        or [*held] != [*string.ascii_uppercase[: len(held)]]
    ):
        raise BadPredictions(f"{where}: 'index2ans' and 'all_choices' do not name the options A, B, ... in order")
    return tuple(map(str, held.values()))


LAYOUT = Layout(
    "lists of {id, question_type, answer, all_choices, index2ans, response}, one a subject", recognises, read
)
