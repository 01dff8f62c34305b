"""ROC AUC: how often a right one is ranked above a wrong one (Hateful Memes).

The answer is a probability of the label 1 as text, or the options' log-probabilities: then the fact `positive` is the number
of the option that stands for it. Targets are `0` or `1`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from eval_tasks.metrics import HEADLINE, Figure, Item, Outcome, Prediction, Targets, each, mean

NO_NUMBER = "no number"
POSITIVE = "1"
DECISION = 0.5


def probability(prediction: Prediction, targets: Targets) -> Outcome:
    """The area under the curve of the probabilities; ties count one half; undefined where one label is missing.

    OpenFlamingo's protocol: the softmax over the options' mean log-probabilities. An answer alone is right where 0.5 leaves
    it on its label's side; one that is no number counts as the wrong extreme.
    """
    return _decided(prediction, targets, lambda value: value >= DECISION)


def idefics_m4(prediction: Prediction, targets: Targets) -> Outcome:
    """The area of the decisions instead of the scores, IDEFICS' quirk (m4 `unfolded_classification_metrics.py`).

    That is the balanced accuracy. A tie goes to the label 0. Undefined where a score is no probability.
    """
    return _decided(prediction, targets, lambda value: value > DECISION)


def of_scores(items: Sequence[Item], outcomes: Sequence[Outcome]) -> Mapping[str, Figure]:
    """The area under the curve of the scores, and how many fall on their label's side of 0.5."""
    return {HEADLINE: area([outcome.read for outcome in outcomes], items), "accuracy": mean(items, outcomes)[HEADLINE]}


def of_decisions(items: Sequence[Item], outcomes: Sequence[Outcome]) -> Mapping[str, Figure]:
    """The area under the curve of the decisions at 0.5, and how many of them are right."""
    decided = [float(outcome.read > DECISION) for outcome in outcomes]
    are_probabilities = all(0 <= outcome.read <= 1 or outcome.problem for outcome in outcomes)
    found = area(decided, items) if are_probabilities else Figure(None)
    return {HEADLINE: found, "accuracy": mean(items, outcomes)[HEADLINE]}


def area(scores: Sequence[float], items: Sequence[Item]) -> Figure:
    """The area; its parts are the shares of the other label that each item beats (placements, DeLong et al. 1988)."""
    values = np.asarray(scores, np.float64)
    positive = np.array([POSITIVE in item.targets.texts for item in items], bool)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not n_positive or not n_negative:
        return Figure(None)
    ranks = rankdata(values)
    found = float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))
    beaten: NDArray[np.float64] = np.empty(len(values))
    beaten[positive] = (ranks[positive] - rankdata(values[positive])) / n_negative
    beaten[~positive] = 1 - (ranks[~positive] - rankdata(values[~positive])) / n_positive
    parts = found + (beaten - found) * len(values) / np.where(positive, n_positive, n_negative)
    return Figure(found, parts.tolist(), [item.document for item in items])


def _decided(prediction: Prediction, targets: Targets, says_one: Callable[[float], bool]) -> Outcome:
    value = _probability(prediction, targets)
    is_positive = POSITIVE in targets.texts
    if value is None:
        return Outcome(0.0, -math.inf if is_positive else math.inf, NO_NUMBER)
    return Outcome(float(says_one(value) == is_positive), value)


def _probability(prediction: Prediction, targets: Targets) -> float | None:
    if prediction.option_logprobs is None:
        try:
            value = float(prediction.text)
        except ValueError:
            return None
        return None if math.isnan(value) else value
    means = [sum(tokens) / len(tokens) if tokens else -math.inf for tokens in prediction.option_logprobs]
    highest = max(means)
    if any(map(math.isnan, means)) or not math.isfinite(highest):
        return None
    weights = [math.exp(value - highest) for value in means]
    return weights[targets.fact("positive")] / sum(weights)


VARIANTS = {
    "probability": each(probability, of_scores, needs_all=True),
    "idefics-m4": each(idefics_m4, of_decisions, needs_all=True),
}
