"""LLaVA's answers to POPE: one file for all categories, which a file of questions tells apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from eval_tasks.errors import BadPredictions
from eval_tasks.layouts import Layout
from eval_tasks.metrics import Item
from eval_tasks.predictions import (
    Given,
    Read,
    all_have,
    by_key,
    field,
    has,
    identity,
    joined,
    question,
    rows,
    said,
)
from eval_tasks.reading import Content

ID = "question_id"
BEFORE_CATEGORY = "_pope_"
"""Files of labels are named DATA_pope_CATEGORY.json."""

Asked = Sequence[tuple[str, dict[str, Any]]]


def recognises(given: Given) -> bool:
    """Answers by `question_id`; among the annotations, questions with their category, and labels."""
    return (
        all_have(given.predictions, ID, "text")
        and any(has(content, ID, "category") for content in given.annotations)
        and any(has(content, "label") for content in given.annotations)
    )


def read(given: Given) -> Read:
    """A category's labels stand in the order of its questions. The published figure is the mean of the categories."""
    items = joined(given, said(given, ID, "text"), by_key(_questions(given)))
    return Read(items, sorted({f"category={item.slices['category']}" for item in items}))


def _questions(given: Given) -> Iterator[tuple[str, str, Item]]:
    are_labels = [has(content, "label") for content in given.annotations]
    files = list(zip(given.annotations, are_labels, strict=True))
    labels = {content.path.stem.partition(BEFORE_CATEGORY)[2]: content for content, is_label in files if is_label}
    asked: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for where, row in rows(content for content, is_label in files if not is_label):
        asked.setdefault(str(field(where, row, "category")), []).append((where, row))
    for category, of_category in asked.items():
        if category not in labels:
            raise BadPredictions(
                f"{of_category[0][0]}: no file *{BEFORE_CATEGORY}{category}.json among the annotations"
            )
        yield from _labelled(category, of_category, labels[category])


def _labelled(category: str, asked: Asked, labels: Content) -> Iterator[tuple[str, str, Item]]:
    held = labels.rows or []
    if len(held) != len(asked):
        raise BadPredictions(
            f"{labels.path}: {len(held)} labels for {len(asked)} questions of the category {category}; they are of "
            "different revisions of POPE"
        )
    for number, ((where, row), label) in enumerate(zip(asked, held, strict=True)):
        picture = str(field(where, row, "image"))
        if label.get("image", picture) != picture:
            raise BadPredictions(f"{labels.where(number)}: {label['image']!r} is labelled, {where} shows {picture!r}")
        key, right = identity(where, row, ID), str(field(labels.where(number), label, "label"))
        yield where, key, question(key, (right,), document=picture, slices={"category": category})


LAYOUT = Layout(
    "lines of {question_id, text}; annotations: lines of {question_id, image, category} and *_pope_CATEGORY.json",
    recognises,
    read,
)
