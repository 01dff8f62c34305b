"""SEED-Bench's letters with their gold ones, scored line by line: one id of the published file occurs twice."""

from __future__ import annotations

from dataclasses import replace

from eval_tasks.layouts import Layout
from eval_tasks.metrics import Item, Prediction
from eval_tasks.predictions import Given, Read, all_have, as_text, field, identity, question, rows, texts


def recognises(given: Given) -> bool:
    """Rows with a `gt_answer`."""
    return all_have(given.predictions, "question_id", "prediction", "gt_answer")


def read(given: Given) -> Read:
    """One question a line."""
    items: list[Item] = []
    for where, row in rows(given.predictions):
        prediction = Prediction(as_text(where, field(where, row, "prediction")))
        asked = question(identity(where, row, "question_id"), texts(where, field(where, row, "gt_answer")))
        items.append(replace(asked, prediction=prediction))
    return Read(items)


LAYOUT = Layout("lines of {question_id, prediction, gt_answer}", recognises, read)
