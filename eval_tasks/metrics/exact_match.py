"""Exact match: the answer equals one of the targets, but for blanks at the ends and the case of letters."""

from __future__ import annotations

from eval_tasks.metrics import Prediction, Targets


def strip_lower(prediction: Prediction, targets: Targets) -> float:
    """1 where an answer is equal after strip and lower, no other rule (Qwen-VL, `evaluate_exact_match_accuracy`)."""
    answer = prediction.text.strip().lower()
    return float(any(answer == target.strip().lower() for target in targets.texts))


VARIANTS = {"strip-lower": strip_lower}
