"""Answers made elsewhere, joined with what they are scored against: what all layouts share."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval_tasks.errors import BadPredictions
from eval_tasks.metrics import Item, Prediction, Targets
from eval_tasks.reading import Content, shortened
from eval_tasks.task import Sample, Task

NOTHING = Prediction("")
"""What stands in an item before it is joined with its answer, and where it has none."""


@dataclass(frozen=True)
class Given:
    """What is to be scored: files of predictions, files of right answers or the benchmark's own folder, and the task.

    `split` of the benchmark's folder: the task's own by default.
    """

    task: Task
    predictions: Sequence[Content]
    annotations: Sequence[Content]
    data: Path | None
    allow_missing: bool = False
    split: str | None = None


@dataclass(frozen=True)
class Read:
    """The answered questions of the files; `mean_of`: slices whose mean is the whole's score."""

    items: Sequence[Item]
    mean_of: Sequence[str] = ()


@dataclass(frozen=True)
class Said:
    """One answer of a file: where it stands, the question's key, and the answer."""

    where: str
    key: Hashable
    prediction: Prediction


def joined(given: Given, said: Sequence[Said], gold: Mapping[Any, Item], *, by_line: bool = False) -> list[Item]:
    """The questions in their own order, each with its answer; those without one at their place, marked so.

    Raises `BadPredictions` for an answer to no question, for two answers to one question, and for missing answers unless
    they are allowed. `by_line`: the answers in the order of the file, however many a question has.
    """
    for one in said:
        if one.key not in gold:
            raise BadPredictions(f"{one.where}: {_named(one.key)} is none of the {len(gold)} questions")
    answered = {one.key for one in said} if by_line else unique(said).keys()
    missing = [key for key in gold if key not in answered]
    if missing and not given.allow_missing:
        raise BadPredictions(
            f"{given.predictions[0].path}: {len(missing)} of {len(gold)} questions have no prediction, "
            f"{_named(missing[0])} for one; "
            "score the others with --allow-missing"
        )
    if by_line:
        found = [replace(gold[one.key], prediction=one.prediction) for one in said]
        return [*found, *(_unanswered(gold[key]) for key in missing)]
    answers = unique(said)
    return [
        replace(item, prediction=answers[key].prediction) if key in answers else _unanswered(item)
        for key, item in gold.items()
    ]


def unique(said: Iterable[Said]) -> dict[Hashable, Said]:
    """The answers by key. Raises `BadPredictions` where a question has two."""
    found: dict[Hashable, Said] = {}
    for one in said:
        if one.key in found:
            raise BadPredictions(f"{one.where}: {_named(one.key)} was answered before, in {found[one.key].where}")
        found[one.key] = one
    return found


def refuse_lacking(given: Given, parts: str, wanted: Iterable[str], there: Collection[str]) -> None:
    """Refuse a benchmark that lacks some of its parts, unless that is allowed: the score would be that of the others."""
    lacking = [part for part in wanted if part not in there]
    if lacking and not given.allow_missing:
        raise BadPredictions(
            f"{given.predictions[0].path}: {len(lacking)} of the benchmark's {parts} are not in the files, {lacking[0]} "
            "for one; score the others with --allow-missing"
        )


def by_key(items: Iterable[tuple[str, Hashable, Item]]) -> dict[Any, Item]:
    """Questions by key, from (where, key, question). Raises `BadPredictions` where two have the same key."""
    found: dict[Any, Item] = {}
    for where, key, item in items:
        if key in found:
            raise BadPredictions(f"{where}: the question {_named(key)} occurs twice in the right answers")
        found[key] = item
    return found


def question(
    key: Hashable,
    targets: Iterable[str],
    *,
    document: str = "",
    slices: Mapping[str, str] | None = None,
    choices: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
) -> Item:
    """A question that waits for its answer; by itself it is its own document."""
    parts = reversed(key) if isinstance(key, tuple) else (key,)
    name = " of ".join(map(str, parts))
    return Item(NOTHING, Targets(tuple(targets), tuple(choices), facts or {}), name, document or name, slices or {})


def unanswered(sample: Sample) -> Item:
    """A task's own question that waits for its answer."""
    targets = Targets(sample.targets, sample.choices, sample.facts)
    return Item(NOTHING, targets, sample.id, sample.document, sample.slices)


def as_text(where: str, answer: object) -> str:
    """An answer, which has to be text: a number may have been written in more than one way. Raises `BadPredictions`."""
    if not isinstance(answer, str):
        raise BadPredictions(f"{where}: the prediction is {shortened(answer)}, not text")
    return answer


def texts(where: str, held: object) -> tuple[str, ...]:
    """Right answers: one, or a list, whose members may be objects with the field `answer`. Raises `BadPredictions`."""
    listed: list[Any] = held if isinstance(held, list) else [held]
    found = [one.get("answer") if isinstance(one, dict) else one for one in listed]
    if not found or not all(isinstance(one, str | int | float) and one == one for one in found):  # NaN is not itself
        raise BadPredictions(f"{where}: the right answer is {shortened(held)}, not text or a list of texts")
    return tuple(map(str, found))


def is_number(held: object) -> bool:
    """Whether it is a number that can be reckoned with: neither a truth nor NaN, infinite or beyond a float."""
    try:
        return isinstance(held, int | float) and not isinstance(held, bool) and math.isfinite(held)
    except OverflowError:
        return False


def field(where: str, row: Mapping[str, Any], key: str) -> Any:
    """A field that a row has to have."""
    if key not in row:
        raise BadPredictions(f"{where}: the field {key!r} is missing")
    return row[key]


def identity(where: str, row: Mapping[str, Any], *keys: str) -> str:
    """The row's id, from the first of the fields that it has; numbers as they are written."""
    for key in keys:
        value = row.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool):
            return str(value)
    raise BadPredictions(f"{where}: no id in it; one of the fields {', '.join(keys)} is expected")


def rows(contents: Iterable[Content], within: str | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of files, or those of the list `within` the object that each file is; each with where it stands."""
    for content in contents:
        held = content.rows if within is None else _rows((content.object or {}).get(within))
        if held is None:
            inside = f" in {within!r}" if within else ""
            raise BadPredictions(f"{content.path}: a list of objects is expected{inside}")
        for number, row in enumerate(held):
            yield content.where(number), row


def said(given: Given, key: str, answer: str) -> list[Said]:
    """The answers of rows that name the question in one field and hold the answer in another."""
    return [
        Said(where, identity(where, row, key), Prediction(as_text(where, field(where, row, answer))))
        for where, row in rows(given.predictions)
    ]


def all_have(contents: Sequence[Content], *keys: str, within: str | None = None) -> bool:
    """Whether there are files and all are rows, the first of which has all of these fields."""
    return bool(contents) and all(has(content, *keys, within=within) for content in contents)


def has(content: Content, *keys: str, within: str | None = None) -> bool:
    """Whether a file is rows, or has rows `within` it, and the first one has all of these fields."""
    held = content.rows if within is None else _rows((content.object or {}).get(within))
    return held is not None and all(key in held[0] for key in keys)


def _rows(held: Any) -> list[dict[str, Any]] | None:
    return held if isinstance(held, list) and held and all(isinstance(row, dict) for row in held) else None


def _unanswered(item: Item) -> Item:
    return replace(item, has_answer=False)


def _named(key: Hashable) -> str:
    """A question in a message."""
    return " of ".join(shortened(part) for part in reversed(key)) if isinstance(key, tuple) else shortened(key)
