"""MMBench's table with a column of predictions; rotations of a question are rows of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from eval_tasks.errors import BadPredictions
from eval_tasks.layouts import Layout
from eval_tasks.metrics import Item, Prediction
from eval_tasks.predictions import Given, Read, Said, all_have, as_text, field, identity, question, rows, unique
from eval_tasks.tasks.mmbench import ROTATION, options_of


def recognises(given: Given) -> bool:
    """Rows with an index, options and both answers."""
    return all_have(given.predictions, "index", "A", "B", "prediction", "answer")


def read(given: Given) -> Read:
    """Every row by itself; what they make together is the metric's affair."""
    held = list(_rows(given))
    unique(said for said, _ in held)
    return Read([replace(item, prediction=said.prediction) for said, item in held])


def _rows(given: Given) -> Iterator[tuple[Said, Item]]:
    for where, row in rows(given.predictions):
        key, choices = identity(where, row, "index"), options_of(row)
        right, slices = str(field(where, row, "answer")), {"split": str(row["split"])} if "split" in row else {}
        if not key.isdecimal() or right not in tuple("ABCDEFGH"[: len(choices)]):
            raise BadPredictions(
                f"{where}: the index is {key!r} and the right answer {right!r}, a number and a letter are expected"
            )
        rotation, group = divmod(int(key), ROTATION)
        item = question(
            key, (right,), document=str(group), slices=slices, choices=choices, facts={"rotation": rotation}
        )
        yield Said(where, key, Prediction(as_text(where, field(where, row, "prediction")))), item


LAYOUT = Layout("a table with the columns index, question, A to D, prediction, answer", recognises, read)
