"""MM-Vet's grades as its authors store them: for each id what a judge said, once for each grading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from eval_tasks.errors import BadPredictions
from eval_tasks.layouts import Layout
from eval_tasks.metrics import Item, Prediction
from eval_tasks.predictions import Given, Read, by_key, question
from eval_tasks.tasks.mmvet import slices_of


def recognises(given: Given) -> bool:
    """Objects: grades by id, and questions with their capabilities."""
    return _holds(given.predictions, "score") and _holds(given.annotations, "capability")


def read(given: Given) -> Read:
    """One item for each question and grading; a question counts in each capability that it needs."""
    gold, grades = by_key(_questions(given)), dict(_grades(given))
    gradings = max(map(len, grades.values()), default=0)
    items: list[Item] = []
    for key, item in gold.items():
        held = grades.pop(key, [])
        if len(held) != gradings and not given.allow_missing:
            raise BadPredictions(
                f"{given.predictions[0].path}: {key!r} has {len(held)} of {gradings} grades; score the others with "
                "--allow-missing"
            )
        for number in range(gradings):
            grading = {"grading": str(number + 1)}
            prediction = Prediction(str(held[number]) if number < len(held) else "")
            items.append(
                replace(item, prediction=prediction, slices=grading | dict(item.slices), has_answer=number < len(held))
            )
    for key in grades:
        raise BadPredictions(f"{given.predictions[0].path}: {key!r} is none of the {len(gold)} questions")
    return Read(items)


def _grades(given: Given) -> Iterator[tuple[str, list[Any]]]:
    for content in given.predictions:
        for key, row in (content.object or {}).items():
            held = row.get("score") if isinstance(row, dict) else None
            if not isinstance(held, list):
                raise BadPredictions(f"{content.path}, {key!r}: a list of grades is expected in 'score'")
            yield key, held


def _questions(given: Given) -> Iterator[tuple[str, str, Item]]:
    for content in given.annotations:
        for key, row in (content.object or {}).items():
            where = f"{content.path}, {key!r}"
            yield where, key, question(key, (), slices=slices_of(row, where))


def _holds(contents: Any, key: str) -> bool:
    first = [next(iter(content.object.values()), None) if content.object else None for content in contents]
    return bool(first) and all(isinstance(row, dict) and key in row for row in first)


LAYOUT = Layout("{id: {model, content, score: [..]}} with {id: {capability: [..]}} as annotations", recognises, read)
