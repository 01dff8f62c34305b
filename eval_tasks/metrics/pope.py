"""POPE: does the model see what is not there? F1 of the answer yes (Li et al. 2023).

The published number is the mean of the F1 of three categories, which a task says by `mean_of`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from eval_tasks.metrics import HEADLINE, Figure, Item, Outcome, Prediction, Targets, each, mean_figure, ratio_figure

YES, NO = "yes", "no"
NO_WORDS = {"No", "not", "no"}


class Counts(NamedTuple):
    """Answers by what they say (positive: yes) and whether that is true."""

    TP: int
    FP: int
    TN: int
    FN: int


def official(prediction: Prediction, targets: Targets) -> Outcome:
    """The authors' rule: no, where `No`, `not` or `no` stands between blanks before the first full stop; yes otherwise.

    QUIRK: so an empty answer, `NO`, `None` and `No!` are yes.
    """
    words = prediction.text.split(".", 1)[0].replace(",", "").split(" ")
    said = YES if NO_WORDS.isdisjoint(words) else NO
    return Outcome(float(said in targets.texts), said)


def counts(items: Sequence[Item], outcomes: Sequence[Outcome]) -> Counts:
    """How many answers are of each kind."""
    kinds = [(outcome.read == YES, YES in item.targets.texts) for item, outcome in zip(items, outcomes, strict=True)]
    return Counts(
        TP=kinds.count((True, True)),
        FP=kinds.count((True, False)),
        TN=kinds.count((False, False)),
        FN=kinds.count((False, True)),
    )


def figures(items: Sequence[Item], outcomes: Sequence[Outcome]) -> Mapping[str, Figure]:
    """F1, then accuracy, precision, recall and the share of answers that say yes; undefined where they divide by zero.

    The authors' script fails where no true yes was answered; so F1 is undefined there, not 0.
    """
    documents = [item.document for item in items]
    says = [float(outcome.read == YES) for outcome in outcomes]
    true = [float(YES in item.targets.texts) for item in items]
    hits = [said * is_true for said, is_true in zip(says, true, strict=True)]
    twice = [2 * hit for hit in hits]
    either = [said + is_true for said, is_true in zip(says, true, strict=True)]
    return {
        HEADLINE: ratio_figure(twice, either, documents) if any(hits) else Figure(None),
        "accuracy": mean_figure([outcome.score for outcome in outcomes], documents),
        "precision": ratio_figure(hits, says, documents),
        "recall": ratio_figure(hits, true, documents),
        "yes_ratio": mean_figure(says, documents),
    }


VARIANTS = {"official": each(official, figures, needs_all=True)}
