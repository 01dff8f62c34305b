"""Boxes beside the true ones, both as shares of the picture's width and height."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from eval_tasks.errors import BadPredictions
from eval_tasks.layouts import Layout
from eval_tasks.metrics import Item, Prediction
from eval_tasks.predictions import NOTHING, Given, Read, Said, all_have, field, is_number, question, rows, unique
from eval_tasks.reading import shortened

TRUE, WRITTEN = "gt_xyxy_norm", "pred_xyxy_norm"


def recognises(given: Given) -> bool:
    """Rows with both boxes."""
    return all_have(given.predictions, TRUE, WRITTEN)


def read(given: Given) -> Read:
    """One box a row; what is no box is left to the metric, which says so. Rows have no ids, so equal ones are one twice."""
    unique(Said(where, json.dumps(row, sort_keys=True), NOTHING) for where, row in rows(given.predictions))
    return Read(list(_items(given)))


def _items(given: Given) -> Iterator[Item]:
    for number, (where, row) in enumerate(rows(given.predictions)):
        facts = {"box": _true(where, field(where, row, TRUE)), "size": (1.0, 1.0)}
        written = field(where, row, WRITTEN)
        text = written if isinstance(written, str) else json.dumps(written)
        yield replace(question(str(number), (), facts=facts), prediction=Prediction(text))


def _true(where: str, held: Any) -> tuple[float, ...]:
    listed: list[Any] = held if isinstance(held, list) else []
    box = [one for one in listed if is_number(one)]
    if len(box) != len(listed) or len(box) != 4:
        raise BadPredictions(f"{where}: {TRUE!r} is {shortened(held)}, not four numbers")
    return tuple(map(float, box))


LAYOUT = Layout(f"a list of {{expression, {TRUE}, {WRITTEN}}}", recognises, read)
