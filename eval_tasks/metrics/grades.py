"""Grades that a judge gave, gathered to a score; the answer's text is its grade (MM-Vet, LLaVA-Bench).

Several gradings of one answer are several items; the slice `grading` of each says which it belongs to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from eval_tasks.errors import BadRow
from eval_tasks.metrics import (
    HEADLINE,
    Figure,
    Item,
    Outcome,
    Prediction,
    Targets,
    each,
    mean,
    ratio_figure,
)

NO_GRADE = "no grade"
HIGHEST = 10.0
"""LLaVA-Bench's judge grades from 1 to 10."""

DECIMALS = 3


def share(prediction: Prediction, targets: Targets) -> Outcome:
    """The mean grade, each between 0 and 1 (MM-Vet)."""
    grade = _number(prediction.text)
    return Outcome(0.0, None, NO_GRADE) if grade is None or not 0 <= grade <= 1 else Outcome(grade, grade)


def ratio(prediction: Prediction, targets: Targets) -> Outcome:
    """The mean grade over the mean of those that the reference answers got, which are the targets (LLaVA-Bench)."""
    grade = _number(prediction.text)
    if grade is None or not 0 <= grade <= HIGHEST:
        return Outcome(0.0, None, NO_GRADE)
    return Outcome(grade / HIGHEST, grade)


def shares(items: Sequence[Item], outcomes: Sequence[Outcome]) -> Mapping[str, Figure]:
    """The mean, and the standard deviation between the means of the gradings."""
    gradings: dict[str, list[float]] = {}
    for item, outcome in zip(items, outcomes, strict=True):
        gradings.setdefault(item.slices.get("grading", ""), []).append(outcome.score)
    means = [sum(scores) / len(scores) for scores in gradings.values()]
    centre = sum(means) / len(means) if means else 0.0
    spread = math.sqrt(sum((one - centre) ** 2 for one in means) / len(means)) if len(means) > 1 else None
    return {**mean(items, outcomes), "std": Figure(spread)}


def ratios(items: Sequence[Item], outcomes: Sequence[Outcome]) -> Mapping[str, Figure]:
    """The ratio of the mean grades, which is not the mean of the ratios.

    QUIRK: the authors' `summarize_gpt_review.py` rounds both means to three decimals before it divides them, which can move
    the last digit that papers print (the published reviews of LLaVA 1.5, details: 52.6, not 52.7). QUIRK: their reviews hold
    -1 for both grades where none could be read, and the means count it.
    """
    above = [_number(item.prediction.text) or 0.0 for item in items]
    below = [_reference(item.targets) for item in items]
    found = ratio_figure(above, below, [item.document for item in items])
    if found.value is None or not (reference := round(sum(below) / len(below), DECIMALS)):
        return {HEADLINE: found}
    rounded = round(sum(above) / len(above), DECIMALS) / reference
    # The parts move with the figure, so that the interval stays one around it.
    parts = [part + rounded - found.value for part in found.parts]
    return {HEADLINE: replace(found, value=rounded, parts=parts)}


def _reference(targets: Targets) -> float:
    grade = _number(targets.texts[0]) if targets.texts else None
    if grade is None:
        raise BadRow(f"the reference answer's grade is {targets.texts!r}, not one number")
    return grade


def _number(text: str) -> float | None:
    """The number that a text is, None where it is none, NaN or infinite."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


VARIANTS = {"mean": each(share, shares), "ratio": each(ratio, ratios)}
