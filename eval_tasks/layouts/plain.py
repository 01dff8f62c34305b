"""Rows of an id and an answer: JSON, JSON lines, CSV or TSV. The form for whatever has no form of its own.

The right answers are the rows' own, those of files in the same form, or those of the benchmark's files.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from eval_tasks.errors import BadPredictions
from eval_tasks.layouts import Layout
from eval_tasks.metrics import Item, Prediction, gqa_suite
from eval_tasks.metrics.vizwiz import CONFIDENCE
from eval_tasks.predictions import (
    Given,
    Read,
    Said,
    as_text,
    by_key,
    identity,
    joined,
    question,
    texts,
    unanswered,
    unique,
)
from eval_tasks.reading import Content
from eval_tasks.task import split_of

Row = Mapping[str, Any]

OWN_IDS = ("id", "sample_id", "question_id", "questionId", "index", "pid")
IDS = (*OWN_IDS, "image_id", "image")
ANSWERS = ("prediction", "answer", "text", "response", "caption")
RIGHT = ("targets", "answers", "answer", "label")
"""Names of fields, the first that a row has counts. Where a row has `prediction` and `answer`, `answer` is the right one."""

KINDS = ("answer_type", "question_type")
PICTURES = ("image_id", "imageId")

GQA = ("types", "semantic", "entailed", "groups")
"""Fields by which the questions of GQA are known; its suite of figures is worked out from them."""

WITHIN = ("annotations", "data", "questions")
"""Where files of right answers hold their rows, if these are not the whole file."""

SCORES = "option_logprobs"


def recognises(given: Given) -> bool:
    """Anything that is rows with an id, or answers by id."""
    return all(_rows(content) is not None for content in given.predictions)


def read(given: Given) -> Read:
    """Each answer with its question."""
    rows = [
        (content.where(number), row) for content in given.predictions for number, row in enumerate(_rows(content) or ())
    ]
    if all("prediction" in row and "answer" in row for _, row in rows):
        return Read(list(_with_own(rows)))
    said = [Said(where, identity(where, row, *IDS), _prediction(where, row)) for where, row in rows]
    if given.annotations:
        return Read(joined(given, said, by_key(_annotated(given))))
    samples = given.task.samples(split_of(given.task, given.split), given.data)
    return Read(joined(given, said, {sample.id: unanswered(sample) for sample in samples}), given.task.mean_of)


def _with_own(rows: Sequence[tuple[str, Row]]) -> Iterator[Item]:
    """Questions that bring their right answers; these may lack an id, and then are questions of their own."""
    said = [
        Said(
            where,
            identity(where, row, *OWN_IDS) if any(key in row for key in OWN_IDS) else str(number),
            _prediction(where, row),
        )
        for number, (where, row) in enumerate(rows)
    ]
    unique(said)
    for one, (where, row) in zip(said, rows, strict=True):
        yield replace(question(one.key, texts(where, row["answer"])), prediction=one.prediction)


def _prediction(where: str, row: Row) -> Prediction:
    """The answer; the scores of options may stand in its place."""
    held = next((row[key] for key in ANSWERS if key in row), None)
    if SCORES not in row:
        return Prediction(as_text(where, held))
    return Prediction("" if held is None else as_text(where, held), _scores(where, row[SCORES]))


def _scores(where: str, held: Any) -> tuple[tuple[float, ...], ...]:
    """One score an option, or the scores of its tokens."""
    listed: list[Any] = held if isinstance(held, list) else []
    options: list[list[Any]] = [one if isinstance(one, list) else [one] for one in listed]
    if not options or not all(_is_score(score) for option in options for score in option):
        raise BadPredictions(f"{where}: {SCORES!r} is no list of numbers, one an option")
    return tuple(tuple(map(float, option)) for option in options)


def _is_score(held: Any) -> bool:
    return isinstance(held, int | float) and not isinstance(held, bool) and not math.isnan(held)


def _annotated(given: Given) -> Iterator[tuple[str, str, Item]]:
    for content in given.annotations:
        held = _rows(content) if content.object is None else _inside(content)
        if not held:
            raise BadPredictions(f"{content.path}: no right answers in it; rows of an id and an answer are expected")
        for number, row in enumerate(held):
            where = content.where(number)
            yield where, identity(where, row, *IDS), _right(where, row)


def _inside(content: Content) -> list[dict[str, Any]] | None:
    """Rows in a list of the object, rows by their ids (GQA's questions), or answers by their ids."""
    held = content.object or {}
    for key in WITHIN:
        if isinstance(held.get(key), list):
            return [row for row in held[key] if isinstance(row, dict)]
    if held and all(isinstance(row, dict) for row in held.values()):
        return [{"id": key, **row} for key, row in held.items()]
    return _rows(content)


def _right(where: str, row: Row) -> Item:
    held = next((row[key] for key in RIGHT if key in row), None)
    if held is None:
        raise BadPredictions(f"{where}: no right answer in it; one of {', '.join(RIGHT)} is expected")
    picture = next((str(row[key]) for key in PICTURES if key in row), "")  # several questions may be asked about it
    slices, facts = _slices(row), _facts(held)
    if all(key in row for key in GQA):
        try:
            slices, facts = gqa_suite.slices(row), gqa_suite.facts(row, None)
        except (KeyError, TypeError, AttributeError) as error:
            raise BadPredictions(f"{where}: {error} is missing or of another form than in GQA's questions") from None
    return question(identity(where, row, *IDS), texts(where, held), document=picture, slices=slices, facts=facts)


def _slices(row: Row) -> dict[str, str]:
    """The kinds that VQA's and VizWiz' files name, as the tasks that read these files do."""
    found = {key: row[key] for key in KINDS if isinstance(row.get(key), str)}
    return found | ({"answerable": "yes" if row["answerable"] else "no"} if "answerable" in row else {})


def _facts(held: Any) -> dict[str, Any]:
    """How sure each person was, where any of them told."""
    people: list[Any] = held if isinstance(held, list) else []
    sure = tuple(one.get(CONFIDENCE) for one in people if isinstance(one, dict))
    return {CONFIDENCE: sure} if any(sure) else {}


def _rows(content: Content) -> list[dict[str, Any]] | None:
    """The file's rows; those of an object are its keys with their values."""
    if content.object is None:
        return content.rows
    if any(isinstance(value, dict | list) for value in content.object.values()):
        return None
    return [{"id": key, "answer": value} for key, value in content.object.items()]


LAYOUT = Layout(
    "rows of an id and an answer, right answers in the rows, in --annotations or in --data",
    recognises,
    read,
    is_general=True,
)
