"""Metrics against what the official implementations returned on tricky answers, case by case."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pytest

from eval_tasks import metrics, postprocess
from eval_tasks.metrics import HEADLINE, Figure, Item, Metric, Outcome, captions, iou, pope
from eval_tasks.scoring import mark
from eval_tasks.task import MetricName
from tests.folders import CASES
from tests.tasks import official_cases
from tests.tasks.official_cases import Case, Row

FOUND = list(official_cases.lines())

TOLERANCE = 1e-6
TOLERANCE_CAPTIONS = 1e-4
TOLERANCE_METEOR = 1e-3
"""METEOR is a Java program that rounds by itself."""

KEPT_IN_PERCENT = {("vizwiz", "openflamingo")}
"""Where the authors' score of a question was taken from what they store: percent with two decimals, unlike their mean."""

RANDOM = " -> random choice"
"""What the cases say where the authors' scorer draws an option at random."""

GROUPS = {
    "accuracyPerStructuralType": "structural",
    "accuracyPerSemanticType": "semantic",
    "accuracyPerSteps": "steps",
    "accuracyPerLength": "words",
}
"""What GQA's evaluation calls its groups, and our slices."""


@pytest.fixture(scope="module", autouse=True)
def tokenised_at_once() -> None:
    """One Java process for the texts of all cases."""
    texts: list[str] = []
    for file, case in FOUND:
        row = official_cases.rows().get((file, case["variant"], ""))
        if row is not None and row.metric == "captions":
            for item in official_cases.items(file, case):
                texts += [item.prediction.text, *item.targets.texts]
    if texts:
        captions.tokenise(texts)


@pytest.mark.skipif(not FOUND, reason=f"no official cases under FLAB_CASES ({CASES})")
@pytest.mark.parametrize(("file", "case"), FOUND, ids=[case.get("id") for _, case in FOUND])
def test_official_case(file: str, case: Case) -> None:
    for row, expected in official_cases.comparisons(file, case):
        found = Marks(row, official_cases.items(file, case), official_cases.is_set(file, case))
        tolerance = TOLERANCE_CAPTIONS if row.metric == "captions" else TOLERANCE
        for field, value in expected.items():
            ours = FIELDS[field](found, value)
            assert same(ours, value, tolerance), (
                f"{row.metric}/{row.variant} {field}: {ours!r}, {value!r}: {case.get('why')}"
            )
    if CAPTIONS.keys() & case.keys():
        assert_captions(official_cases.items(file, case), case)


@dataclass(frozen=True)
class Marks:
    """What a variant of ours makes of a case."""

    row: Row
    items: Sequence[Item]
    is_set: bool

    @cached_property
    def metric(self) -> Metric:
        return metrics.get(self.row.metric, self.row.variant)

    @cached_property
    def outcomes(self) -> Sequence[Outcome]:
        return self.metric.outcomes(self.items)

    @cached_property
    def figures(self) -> Mapping[str, Figure]:
        return self.metric.figures(self.items, self.outcomes)

    @property
    def outcome(self) -> Outcome:
        """The only one."""
        (outcome,) = self.outcomes
        return outcome


def score(found: Marks, expected: object) -> object:
    """The figure of a set; of a single answer its score, or what the authors make of one that they cannot score."""
    if found.is_set:
        return found.figures[HEADLINE].value
    outcome = found.outcome
    if (found.row.metric, found.row.variant) in KEPT_IN_PERCENT:
        return round(100 * outcome.score, 2) / 100
    if expected == "ZeroDivisionError":
        return expected if outcome.problem == "division by zero" else outcome.score
    return None if expected is None and outcome.problem else outcome.score


def read(found: Marks, expected: object) -> object:
    """What was read out of the answer, in the authors' words where it was nothing."""
    outcome = found.outcome
    if isinstance(outcome.read, iou.Located):
        return list(outcome.read.box)
    if isinstance(outcome.read, frozenset) and isinstance(expected, list):
        return expected if outcome.read == frozenset(expected) else sorted(outcome.read, key=str)
    if expected == "<MODEL>" and outcome.problem == "needs a judge":
        return expected
    if isinstance(expected, str) and outcome.problem and expected.endswith(RANDOM):
        return f"{outcome.read or 'FAILED'}{RANDOM}"
    return "FAILED" if expected == "FAILED" and outcome.problem and outcome.read is None else outcome.read


def number_chosen(found: Marks, expected: object) -> int:
    """The chosen option's number, -1 for none of those that there are."""
    outcome = found.outcome
    return -1 if outcome.problem or outcome.read is None else official_cases.LETTERS.index(outcome.read)


def text_made(found: Marks, expected: object) -> str:
    """The text that an answer becomes before it is compared."""
    if found.row.metric == "postprocess":
        return postprocess.get(found.row.variant)(found.items[0].prediction.text)
    return found.outcome.read


def overlap(found: Marks, expected: object) -> float | None:
    value = found.outcome.read.iou
    return None if math.isnan(value) else value


def tokens(found: Marks, expected: object) -> Sequence[str]:
    return captions.tokenise([found.items[0].prediction.text])[0].split()


def numbers(found: Marks, expected: Mapping[str, object]) -> Mapping[str, object]:
    """A set's figures under the authors' names and in their units."""
    ours: dict[str, object] = {}
    counts = pope.counts(found.items, found.outcomes)._asdict() if found.row.metric == "pope" else {}
    for name in expected:
        figure = found.figures.get({"acc": "accuracy", "f1": HEADLINE}.get(name, name))
        if name in counts:
            ours[name] = counts[name]
        elif name == "error":
            ours[name] = "ZeroDivisionError" if found.figures[HEADLINE].value is None else None
        elif found.row.metric == "gqa_suite":
            value = found.figures[HEADLINE if name == "accuracy" else name].value
            ours[name] = value if value is None or name == "distribution" else 100 * value
        else:
            ours[name] = figure.value if figure else None
    return ours


def groups(found: Marks, expected: Mapping[str, Mapping[str, object]]) -> Mapping[str, Mapping[str, object]]:
    """GQA's accuracy by group, from our slices: percent and how many questions."""
    name = MetricName(found.row.metric, found.row.variant)
    by_slice = {one.slice: one for one in mark(name, found.items).scores if one.metric == name.metric}
    ours: dict[str, dict[str, object]] = {theirs: {} for theirs in expected}
    for theirs, key in GROUPS.items():
        for label, one in by_slice.items():
            if label.startswith(f"{key}=") and one.value is not None:
                ours[theirs][label.removeprefix(f"{key}=")] = [100 * one.value, one.n]
    return ours


FIELDS: Mapping[str, Callable[[Marks, Any], object]] = {
    "accuracy_at_0_5": lambda found, expected: found.figures["accuracy"].value,
    "error": lambda found, expected: expected if found.figures["distribution"].value is None else None,
    "iou": overlap,
    "metrics": numbers,
    "norm_prediction": read,
    "option_chosen": number_chosen,
    "output": text_made,
    "parsed": read,
    "per_type": groups,
    "pred_index": number_chosen,
    "score": score,
    "tokens": tokens,
    "vanilla_first_pass": lambda found, expected: (
        Marks(replace(found.row, variant="vanilla"), found.items, found.is_set).figures[HEADLINE].value
    ),
}


def same(ours: object, theirs: object, tolerance: float) -> bool:
    """Equal, numbers within the tolerance."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key], tolerance) for key in theirs)
    if isinstance(theirs, list) and isinstance(ours, list):
        pairs = zip(ours, theirs, strict=False)
        return len(ours) == len(theirs) and all(same(one, other, tolerance) for one, other in pairs)
    if isinstance(theirs, int | float) and isinstance(ours, int | float):
        return math.isclose(ours, theirs, rel_tol=0, abs_tol=tolerance)
    return ours == theirs


CAPTIONS: Mapping[str, Callable[[Sequence[Outcome], Mapping[str, Figure]], object]] = {
    "cider_per_image": lambda outcomes, figures: [outcome.score for outcome in outcomes],
    "bleu": lambda outcomes, figures: [figures[f"Bleu_{n}"].value for n in (1, 2, 3, 4)],
    "rouge_l": lambda outcomes, figures: figures["ROUGE_L"].value,
    "meteor": lambda outcomes, figures: figures["METEOR"].value,
}
"""The other figures of a caption case."""


def assert_captions(items: Sequence[Item], case: Case) -> None:
    """Those that the case has."""
    metric = metrics.get("captions", "ptb")
    outcomes = metric.outcomes(items)
    figures = metric.figures(items, outcomes)
    for field in CAPTIONS.keys() & case.keys():
        tolerance = TOLERANCE_METEOR if field == "meteor" else TOLERANCE_CAPTIONS
        assert same(CAPTIONS[field](outcomes, figures), case[field], tolerance), field
