"""Relaxed accuracy: numbers may be off by 5 %, anything else has to be equal (ChartQA, Masry et al. 2022, section 5.1).

The paper published no scorer. `pix2struct` is the accepted one; the others are what authors really used.
"""

from __future__ import annotations

from eval_tasks.metrics import Outcome, Prediction, Targets, each

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


def pix2struct(prediction: Prediction, targets: Targets) -> Outcome:
    """The scorer released with Pix2Struct (google-research/pix2struct, `metrics.py`): the best of the targets."""
    return Outcome(float(any(is_close(prediction.text, target) for target in targets.texts)))


def qwen_vl(prediction: Prediction, targets: Targets) -> Outcome:
    """Qwen-VL's call of the same rule (`eval_mm/evaluate_vqa.py`).

    QUIRK: the arguments change places there, so the 5 % are of the answer. The answer is stripped.
    """
    answer = prediction.text.strip()
    return Outcome(float(any(is_close(target, answer) for target in targets.texts)), answer)


def idefics_m4(prediction: Prediction, targets: Targets) -> Outcome:
    """The rule of IDEFICS' evaluation code (m4 `open_ended_vqa_metrics.py`).

    Full stops at the ends go, number words become digits and commas vanish wherever they stand; case counts. QUIRK: the
    error is not taken as a share of the target's size but of the target, so any number is right for a negative one; 5 %
    itself is wrong; a number is compared with the first target that is one, and nothing after it.
    """
    answer = _plain(prediction.text)
    value = number_m4(answer)
    is_right = False
    for target in map(_plain, targets.texts):
        right = number_m4(target)
        if right is None:
            is_right = is_right or answer == target
        elif value is not None:
            is_right = value == right if right == 0 else is_right or abs(value - right) / right < TOLERANCE
            break
    return Outcome(float(is_right), answer)


def number_m4(text: str) -> float | None:
    """The value of a text that is a number, with no rule for percentages."""
    try:
        return float(text)
    except ValueError:
        return None


def _plain(text: str) -> str:
    text = text.strip(".")
    for value, word in enumerate(NUMBER_WORDS):
        text = text.replace(word, str(value))
    return text.replace(",", "")


VARIANTS = {"pix2struct": each(pix2struct), "qwen-vl": each(qwen_vl), "idefics-m4": each(idefics_m4)}
