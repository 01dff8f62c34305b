"""MME's own form: one text file a category, lines of picture, question, right answer and answer with tabs between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from eval_tasks.errors import BadPredictions
from eval_tasks.layouts import Layout
from eval_tasks.metrics import Item, Prediction
from eval_tasks.predictions import Given, Read, Said, question, refuse_lacking, unique
from eval_tasks.reading import Content
from eval_tasks.tasks.mme import PARTS

FIELDS = 4
OF_A_PICTURE = 2


def recognises(given: Given) -> bool:
    """Text files of lines with four fields."""
    return all(
        content.path.suffix == ".txt" and len(content.held[0].split("\t")) == FIELDS for content in given.predictions
    )


def read(given: Given) -> Read:
    """All categories, two questions a picture; what lacks some of them is refused unless that is allowed."""
    lines = [one for content in given.predictions for one in _lines(content)]
    unique(said for said, _ in lines)
    items = [replace(item, prediction=said.prediction) for said, item in lines]
    refuse_lacking(given, "categories", PARTS, {item.slices["category"] for item in items})
    for picture, count in Counter(item.document for item in items).items():
        if count != OF_A_PICTURE and not given.allow_missing:
            raise BadPredictions(
                f"{given.predictions[0].path.parent}: the picture {picture} has {count} answers, not {OF_A_PICTURE}; "
                "score it all the same with --allow-missing"
            )
    return Read(items)


def _lines(content: Content) -> Iterator[tuple[Said, Item]]:
    category = content.path.stem
    if category not in PARTS:
        raise BadPredictions(f"{content.path}: no category of MME; they are {', '.join(PARTS)}")
    for number, line in enumerate(content.held, start=1):
        where, fields = f"{content.path}, line {number}", line.split("\t")
        if len(fields) != FIELDS:
            raise BadPredictions(f"{where}: {len(fields)} fields with tabs between, not {FIELDS}")
        picture, asked, right, answer = fields
        name, slices = f"{category}/{picture}", {"category": category, "part": PARTS[category]}
        key = f"{name}/{asked}"
        yield Said(where, key, Prediction(answer)), question(key, (right,), document=name, slices=slices)


LAYOUT = Layout("CATEGORY.txt, lines of picture, question, right answer, answer with tabs between", recognises, read)
