"""Exact match: the answer equals one of the targets, but for blanks at the ends and the case of letters."""

from __future__ import annotations

from eval_tasks.metrics import Outcome, Prediction, Targets, each


def strip_lower(prediction: Prediction, targets: Targets) -> Outcome:
    """1 where an answer is equal after strip and lower, no other rule (Qwen-VL, `evaluate_exact_match_accuracy`)."""
    answer = prediction.text.strip().lower()
    return Outcome(float(any(answer == target.strip().lower() for target in targets.texts)), answer)


VARIANTS = {"strip-lower": each(strip_lower)}
