"""Multiple choice from an answer in words: the letter that it names, if it names one (targets are letters)."""

from __future__ import annotations

import re
import string

from eval_tasks.metrics import Outcome, Prediction, Targets, each

LETTERS = string.ascii_uppercase

NO_LETTER = "no letter"
NO_SUCH_OPTION = "no such option"

THE_ANSWER_IS = re.compile(r"The answer is ([A-Z]).")
LLAVA_LETTERS = "ABCDE"

# The order matters: `Answer: D` begins with a letter from A to D.
LMMS_EVAL = tuple(
    re.compile(pattern)
    for pattern in (
        r"^([A-D])",
        r"(?:THE\s+)?(?:ANSWER|CHOICE|OPTION)(?:\s+IS)?[\s:]+([A-D])",
        r"\(([A-D])\)",
        r"([A-D])\s*[.)\]]",
        r"(?:^|\s)([A-D])(?:\s|$)",
    )
)


def letter(prediction: Prediction, targets: Targets) -> Outcome:
    """The bare letter and nothing else (LLaVA's conversion for SEED-Bench): `A.` and ` A` are wrong."""
    text = prediction.text
    is_letter = len(text) == 1 and text in LETTERS
    return Outcome(float(text in targets.texts), text if is_letter else None, "" if is_letter else NO_LETTER)


def llava(prediction: Prediction, targets: Targets) -> Outcome:
    """LLaVA's rule for ScienceQA: `B`, or `B. ` and more, or exactly one `The answer is B.`; anything else is wrong."""
    text = prediction.text
    if text and text[0] in LLAVA_LETTERS and (len(text) == 1 or text[1:3] == ". "):
        return _chosen(text[0], targets)
    return scienceqa(prediction, targets)


def scienceqa(prediction: Prediction, targets: Targets) -> Outcome:
    """ScienceQA's authors' rule: exactly one `The answer is B.`; they draw a random option otherwise, which counts as wrong here.

    QUIRK: the full stop of their pattern stands for any sign.
    """
    found = THE_ANSWER_IS.findall(prediction.text)
    return _chosen(found[0], targets) if len(found) == 1 else Outcome(0.0, None, NO_LETTER)


def letter_lmms_eval(prediction: Prediction, targets: Targets) -> Outcome:
    """lmms-eval's rule for V*Bench, which is not the authors': the first of several patterns, else the only letter A-D.

    QUIRK: nothing has to stand around the letter, so `Blue` is B and `choice is D` is C.
    """
    text = prediction.text.strip().upper()
    for pattern in LMMS_EVAL:
        if match := pattern.search(text):
            return Outcome(float(match[1] in targets.texts), match[1])
    found = [sign for sign in text if sign in "ABCD"]
    if len(found) == 1:
        return Outcome(float(found[0] in targets.texts), found[0])
    return Outcome(0.0, None, NO_LETTER)


def _chosen(found: str, targets: Targets) -> Outcome:
    """A letter, which the question may not have. Without `choices` it has all."""
    if targets.choices and found not in LETTERS[: len(targets.choices)]:
        return Outcome(0.0, found, NO_SUCH_OPTION)
    return Outcome(float(found in targets.texts), found)


VARIANTS = {
    "letter": each(letter),
    "llava": each(llava),
    "scienceqa": each(scienceqa),
    "letter-lmms-eval": each(letter_lmms_eval),
}
