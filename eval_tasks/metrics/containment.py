"""Containment: a target occurs somewhere in the answer, for models that answer in sentences."""

from __future__ import annotations

from eval_tasks.metrics import Outcome, Prediction, Targets, each


def substring(prediction: Prediction, targets: Targets) -> Outcome:
    """1 where a target is part of the answer, both in lower case, line ends as blanks, stripped (OCRBench, `example.py`).

    It is lenient: `no` is part of `nothing`. An empty target is in an empty answer only.
    """
    answer = _plain(prediction.text)
    texts = [_plain(target) for target in targets.texts]
    return Outcome(float(any(text in answer if text else not answer for text in texts)), answer)


def _plain(text: str) -> str:
    return text.lower().strip().replace("\n", " ")


VARIANTS = {"substring": each(substring)}
