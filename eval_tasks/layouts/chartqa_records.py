"""ChartQA's test set as one list, each row with its gold answer; the parts are scored apart."""

from __future__ import annotations

from dataclasses import replace

from eval_tasks.layouts import Layout
from eval_tasks.metrics import Item, Prediction
from eval_tasks.predictions import Given, Read, all_have, as_text, field, question, refuse_lacking, rows, texts

PARTS = ("test_human", "test_augmented")


def recognises(given: Given) -> bool:
    """Rows that name a picture and hold both answers."""
    return all_have(given.predictions, "imgname", "prediction", "answer")


def read(given: Given) -> Read:
    """One question a row. The whole's score is the mean of the parts, which the rows name as their `split`.

    Equal rows are several questions: the authors' test set repeats some, one of them five times.
    """
    items: list[Item] = []
    for where, row in rows(given.predictions):
        prediction = Prediction(as_text(where, field(where, row, "prediction")))
        right = texts(where, field(where, row, "answer"))
        slices = {"split": str(row["split"])} if "split" in row else {}
        picture = str(field(where, row, "imgname"))
        items.append(replace(question(str(len(items)), right, document=picture, slices=slices), prediction=prediction))
    parts = {item.slices["split"] for item in items if "split" in item.slices}
    if parts.intersection(PARTS):  # others name theirs in their own way
        refuse_lacking(given, "parts", PARTS, parts)
    return Read(items, [f"split={part}" for part in sorted(parts)])


LAYOUT = Layout("a list of {imgname, query, prediction, answer, split}", recognises, read)
