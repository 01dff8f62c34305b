"""MMBench's table with a column of predictions; rotations of a question are rows of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from eval_tasks.errors import BadPredictions
from eval_tasks.layouts import Layout
from eval_tasks.metrics import Item, Prediction
from eval_tasks.predictions import Given, Read, Said, all_have, as_text, field, identity, question, rows, unique
from eval_tasks.tasks.mmbench import ROTATION, kinds_of, options_of


def recognises(given: Given) -> bool:
    """Rows with an index, options and both answers."""
    return all_have(given.predictions, "index", "A", "B", "prediction", "answer")


def read(given: Given) -> Read:
    """Every row by itself, told how many forms its question has; a question that lacks one is refused unless allowed."""
    held = list(_rows(given))
    unique(said for said, _ in held)
    asked: dict[str, dict[int, Item]] = {}
    for _, item in held:
        asked.setdefault(item.document, {})[item.targets.facts["rotation"]] = item
    forms = {group: _forms(found.values()) for group, found in asked.items()}
    for group, found in asked.items():
        lacking = [rotation for rotation in range(forms[group]) if rotation not in found]
        if lacking and not given.allow_missing:
            raise BadPredictions(
                f"{given.predictions[0].path}: the question {group} has no row {int(group) + lacking[0] * ROTATION}, one of "
                f"its {forms[group]} rotations, and counts where all are right; score it all the same with --allow-missing"
            )
    return Read([_told(item, said.prediction, forms[item.document]) for said, item in held])


def _forms(items: Collection[Item]) -> int:
    """How many forms a question has: one an option, one less where the last option keeps its place in all of them.

    The authors' table leaves options like `None of these` where they are.
    """
    choices = [item.targets.choices for item in items]
    stays = len(choices) > 1 and len({one[-1] for one in choices}) == 1
    return max(map(len, choices)) - stays


def _told(item: Item, prediction: Prediction, forms: int) -> Item:
    facts = {**item.targets.facts, "rotations": forms}
    return replace(item, prediction=prediction, targets=replace(item.targets, facts=facts))


def _rows(given: Given) -> Iterator[tuple[Said, Item]]:
    for where, row in rows(given.predictions):
        key, choices = identity(where, row, "index"), options_of(row)
        right = str(field(where, row, "answer"))
        slices = ({"split": str(row["split"])} if "split" in row else {}) | kinds_of(row)
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
