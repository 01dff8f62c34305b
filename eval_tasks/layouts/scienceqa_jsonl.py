"""LLaVA's answers to ScienceQA, with its own file of questions as conversations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eval_tasks.errors import BadPredictions
from eval_tasks.layouts import Layout
from eval_tasks.metrics import Item
from eval_tasks.predictions import Given, Read, all_have, by_key, field, identity, joined, question, rows, said


def recognises(given: Given) -> bool:
    """Answers by `question_id`, and conversations."""
    return all_have(given.predictions, "question_id", "text") and all_have(given.annotations, "id", "conversations")


def read(given: Given) -> Read:
    """The published figure is that of the questions with a picture."""
    return Read(joined(given, said(given, "question_id", "text"), by_key(_questions(given))))


def _questions(given: Given) -> Iterator[tuple[str, str, Item]]:
    for where, row in rows(given.annotations):
        key, slices = identity(where, row, "id"), {"picture": "yes" if "image" in row else "no"}
        yield where, key, question(key, (_letter(where, row),), slices=slices)


def _letter(where: str, row: dict[str, Any]) -> str:
    """What the model's turn says."""
    turns = field(where, row, "conversations")
    listed: list[Any] = turns if isinstance(turns, list) else []
    found = [turn.get("value") for turn in listed if isinstance(turn, dict) and turn.get("from") == "gpt"]
    if len(found) != 1 or not isinstance(found[0], str):
        raise BadPredictions(f"{where}: one turn of 'gpt' with the right letter is expected")
    return found[0]


LAYOUT = Layout(
    "lines of {question_id, text} with a list of {id, conversations, image} as annotations", recognises, read
)
