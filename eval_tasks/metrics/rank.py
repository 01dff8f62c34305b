"""Multiple choice by ranking: the option that the model finds likeliest (targets are letters)."""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Sequence

from eval_tasks.metrics import Outcome, Prediction, Targets, each

NOT_RANKED = "not ranked"

NEVER = -math.inf


def mean(prediction: Prediction, targets: Targets) -> Outcome:
    """By the mean log-probability of the option's tokens (V*Bench, `vstar_bench_eval.py`); ties go to the first."""
    return _likeliest(prediction, targets, lambda tokens: sum(tokens) / len(tokens))


def total(prediction: Prediction, targets: Targets) -> Outcome:
    """By the summed log-probability of the option's tokens, which favours short ones; ties go to the first."""
    return _likeliest(prediction, targets, sum)


def argmin(prediction: Prediction, targets: Targets) -> Outcome:
    """By the option's loss, the mean over its tokens, the smallest first (SEED-Bench); ties go to the first."""
    return mean(prediction, targets)


def _likeliest(prediction: Prediction, targets: Targets, score: Callable[[Sequence[float]], float]) -> Outcome:
    """An option without tokens, or whose score is no number, is never chosen."""
    scores = [score(tokens) if tokens else NEVER for tokens in prediction.option_logprobs or ()]
    scores = [NEVER if math.isnan(value) else value for value in scores]
    best = max(scores, default=NEVER)
    if best == NEVER:
        return Outcome(0.0, None, NOT_RANKED)
    chosen = string.ascii_uppercase[scores.index(best)]
    return Outcome(float(chosen in targets.texts), chosen)


VARIANTS = {
    "mean": each(mean, needs_options=True),
    "sum": each(total, needs_options=True),
    "argmin": each(argmin, needs_options=True),
}
