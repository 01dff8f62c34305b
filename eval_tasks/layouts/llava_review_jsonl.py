"""LLaVA-Bench's reviews: a judge's two grades, of the reference answer and of the model's; one file a grading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from eval_tasks.errors import BadPredictions
from eval_tasks.layouts import Layout
from eval_tasks.metrics import Item, Prediction
from eval_tasks.predictions import Given, Read, Said, all_have, field, identity, is_number, question, rows, unique
from eval_tasks.reading import Content, shortened
from eval_tasks.tasks.llava_bench import category_of


def recognises(given: Given) -> bool:
    """Rows with two grades in `tuple`."""
    return all_have(given.predictions, "question_id", "category", "tuple")


def read(given: Given) -> Read:
    """The whole's score is the mean of the gradings, which are named after their files."""
    gradings = {content.path.stem: list(_reviews(content)) for content in given.predictions}
    if len(gradings) < len(given.predictions):
        raise BadPredictions(f"{given.predictions[0].path}: two gradings have the same name")
    asked = {said.key for reviews in gradings.values() for said, _ in reviews}
    items: list[Item] = []
    for (grading, reviews), content in zip(gradings.items(), given.predictions, strict=True):
        found = unique(said for said, _ in reviews)
        if len(found) < len(asked) and not given.allow_missing:
            raise BadPredictions(
                f"{content.path}: {len(asked) - len(found)} of {len(asked)} questions are not graded here; score the "
                "others with --allow-missing"
            )
        items += [
            replace(item, prediction=said.prediction, slices={"grading": grading, **item.slices})
            for said, item in reviews
        ]
    return Read(items, [f"grading={grading}" for grading in gradings])


def _reviews(content: Content) -> Iterator[tuple[Said, Item]]:
    for where, row in rows([content]):
        key, grades = identity(where, row, "question_id"), field(where, row, "tuple")
        if not isinstance(grades, list) or len(grades) != 2 or not all(map(is_number, grades)):
            raise BadPredictions(
                f"{where}: 'tuple' is {shortened(grades)}, not the grades of the reference and of the model"
            )
        reference, grade = map(str, grades)
        slices = {"category": category_of(str(field(where, row, "category")))}
        yield Said(where, key, Prediction(grade)), question(key, (reference,), slices=slices)


LAYOUT = Layout("lines of {question_id, category, tuple: [reference's grade, model's grade]}", recognises, read)
