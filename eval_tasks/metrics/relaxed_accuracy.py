"""Relaxed accuracy: numbers may be off by 5 %, anything else has to be equal (ChartQA, Masry et al. 2022, section 5.1).

The paper published no scorer. `pix2struct` is the accepted one; the others are what authors really used.
"""

from __future__ import annotations

import re

from eval_tasks.metrics import Prediction, Targets

TOLERANCE = 0.05

NUMBER_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def number(text: str) -> float | None:
    """The value of a text that is a number, a percentage as its hundredth; None otherwise."""
    try:
        return float(text.rstrip("%")) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None


def is_close(answer: str, target: str) -> bool:
    """Within 5 % of the target, where both are numbers and the target is not 0; else equal but for case, nothing stripped."""
    value, right = number(answer), number(target)
    if value is not None and right:
        return abs(value - right) / abs(right) <= TOLERANCE
    return answer.lower() == target.lower()


def pix2struct(prediction: Prediction, targets: Targets) -> float:
    """The scorer released with Pix2Struct (google-research/pix2struct, `metrics.py`): the best of the targets."""
    return float(any(is_close(prediction.text, target) for target in targets.texts))


def qwen_vl(prediction: Prediction, targets: Targets) -> float:
    """Qwen-VL's call of the same rule (`eval_mm/evaluate_vqa.py`).

    QUIRK: the arguments change places there, so the 5 % are of the answer. The answer is stripped.
    """
    return float(any(is_close(target, prediction.text.strip()) for target in targets.texts))


def idefics_m4(prediction: Prediction, targets: Targets) -> float:
    """The rule of IDEFICS' evaluation code.

    Full stops at the ends go, number words become digits and commas vanish wherever they stand; case counts. QUIRK: the
    error is not taken as a share of the target's size but of the target, so any number is right for a negative one; 5 %
    itself is wrong; only the first target is looked at.
    """
    return float(_is_close_m4(_plain(prediction.text), _plain(targets.texts[0])))


def _plain(text: str) -> str:
    text = text.strip(".")
    for value, word in enumerate(NUMBER_WORDS):
        text = text.replace(word, str(value))
    return re.sub(",", "", text)


def _is_close_m4(answer: str, target: str) -> bool:
    try:
        value, right = float(answer), float(target)
    except ValueError:
        return answer == target
    return value == right if right == 0 else abs(value - right) / right < TOLERANCE


VARIANTS = {"pix2struct": pix2struct, "qwen-vl": qwen_vl, "idefics-m4": idefics_m4}
