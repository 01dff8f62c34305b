"""GQA's whole suite of figures (Hudson and Manning 2019, section 4.4), as the authors' `eval.py` works them out.

Every item carries its question's record as facts (`facts`) and its groups as slices (`slices`). Only balanced questions
count; consistency needs the answers to all questions that a balanced one entails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval_tasks.metrics import HEADLINE, Figure, Item, Metric, Outcome, mean_over
from leaderboards.records import POINTS

COMMON = ("color", "material", "shape")
"""QUIRK: what a question of a `Common` type may be answered with, whatever its choices say."""

NO_REASONING = ("exist", "query: name", "choose name")
"""Operations that are no step of reasoning."""


@dataclass(frozen=True)
class Judged:
    """What an answer's figures are made of. None where the figure has no value for it."""

    answer: str
    is_counted: bool
    is_valid: bool | None
    is_plausible: bool | None
    knows_entailed: bool
    consistency: float | None


def facts(record: Mapping[str, Any], choices: Mapping[str, Sequence[str]] | None) -> dict[str, Any]:
    """A question's facts, from its record in the questions' file and, where there is one, its entry in the choices' file."""
    return {
        "is_balanced": record["isBalanced"],
        "structural": record["types"]["structural"],
        "is_common": "Common" in record["types"]["detailed"],
        "group": record["groups"]["global"],
        "entailed": tuple(record["entailed"]),
        "valid": None if choices is None else tuple(choices["valid"]),
        "plausible": None if choices is None else tuple(choices["plausible"]),
    }


def slices(record: Mapping[str, Any]) -> dict[str, str]:
    """The groups by which the authors split accuracy: kinds of question, steps of reasoning, words; balanced ones only."""
    if not record["isBalanced"]:
        return {}
    operations = [f"{step['operation']}: {step['argument']}" for step in record["semantic"]]
    steps = sum(not any(word in operation for word in NO_REASONING) for operation in operations)
    return {
        "structural": record["types"]["structural"],
        "semantic": record["types"]["semantic"],
        "steps": str(steps),
        "words": str(len(record["question"].split())),
    }


def judged(items: Sequence[Item]) -> Sequence[Outcome]:
    """Every answer by itself, and against the answers to the questions that it entails."""
    right = {item.id: item.prediction.text in item.targets.texts for item in items}
    found: list[Outcome] = []
    for item in items:
        others = [key for key in item.targets.fact("entailed") if key != item.id]
        knows = all(key in right for key in others)
        read = Judged(
            answer=item.prediction.text,
            is_counted=item.targets.fact("is_balanced"),
            is_valid=_belongs(item, "valid"),
            is_plausible=_belongs(item, "plausible"),
            knows_entailed=knows,
            consistency=sum(right[key] for key in others) / len(others)
            if right[item.id] and others and knows
            else None,
        )
        found.append(Outcome(float(right[item.id]), read))
    return found


def _belongs(item: Item, kind: str) -> bool | None:
    group = item.targets.fact(kind)
    if group is None:
        return None
    return item.prediction.text in (COMMON if item.targets.fact("is_common") else group)


def official(items: Sequence[Item], outcomes: Sequence[Outcome]) -> Mapping[str, Figure]:
    """Accuracy, of binary and open questions too; consistency, validity, plausibility where all is known; distribution.

    As in `eval.py` a mean over none of the questions is 0. The distribution score, lower is better, divides by zero there
    where no balanced question has a group; it is undefined here.
    """
    pairs = [(item, outcome) for item, outcome in zip(items, outcomes, strict=True) if outcome.read.is_counted]

    def over(value: Callable[[Item, Outcome], float | None]) -> Figure:
        of = zip(items, outcomes, strict=True)
        found = mean_over(items, [value(item, one) if one.read.is_counted else None for item, one in of])
        return Figure(0.0) if pairs and not found.parts else found

    def accuracy(is_open: bool) -> Figure:
        return over(lambda item, one: one.score if (item.targets.fact("structural") == "query") == is_open else None)

    has_choices = all(outcome.read.is_valid is not None for _, outcome in pairs)
    has_entailed = all(outcome.read.knows_entailed for _, outcome in pairs)
    unknown = Figure(None)
    return {
        HEADLINE: over(lambda item, one: one.score),
        "binary": accuracy(is_open=False),
        "open": accuracy(is_open=True),
        "consistency": over(lambda item, one: one.read.consistency) if has_entailed else unknown,
        "validity": over(lambda item, one: float(one.read.is_valid)) if has_choices else unknown,
        "plausibility": over(lambda item, one: float(one.read.is_plausible)) if has_choices else unknown,
        "distribution": Figure(_distribution(pairs), unit=POINTS),
    }


def without_choices(items: Sequence[Item], outcomes: Sequence[Outcome]) -> Mapping[str, Figure]:
    """The suite of the copy of `eval.py` that LLaVA patched for testdev.

    QUIRK: it prints validity and plausibility, which are not known there, as 0.
    """
    return {**official(items, outcomes), "validity": Figure(0.0), "plausibility": Figure(0.0)}


def _distribution(pairs: Sequence[tuple[Item, Outcome]]) -> float | None:
    """How far the answers' frequencies are from the true ones: chi-square by group, weighted by its size, over 100.

    QUIRK: answers that are never right in a group do not count against it.
    """
    true: dict[str, Counter[str]] = {}
    given: dict[str, Counter[str]] = {}
    for item, outcome in pairs:
        group = item.targets.fact("group")
        if group is not None:
            true.setdefault(group, Counter())[item.targets.texts[0]] += 1
            given.setdefault(group, Counter())[outcome.read.answer] += 1
    total = sum(counts.total() for counts in true.values())
    if not total:
        return None
    weighted = sum(
        sum((given[group][answer] - count) ** 2 / count for answer, count in counts.items()) * counts.total()
        for group, counts in true.items()
    )
    return weighted / total / 100


VARIANTS = {
    "official": Metric(judged, "The authors' eval.py, with its choices' file.", official, needs_all=True),
    "without-choices": Metric(
        judged, "The copy of eval.py for splits without choices.", without_choices, needs_all=True
    ),
}
