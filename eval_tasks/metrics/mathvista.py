"""MathVista: an answer that was extracted from a response, normalised to the question's type, equals the target.

The authors' two steps are two programs. `extraction` is the part of `extract_answer.py` that needs no model: what it leaves is
for a judge. `official` is `calculate_score.py` on extracted answers; `rules` does both, for responses as models write them.
The facts are the benchmark's fields `question_type`, `answer_type` and `precision`; targets are texts, not letters.
"""

from __future__ import annotations

import re

from eval_tasks.edit_distance import edit_distance
from eval_tasks.metrics import Outcome, Prediction, Targets, each

NEEDS_A_JUDGE = "needs a judge"
NO_ANSWER = "no answer"
NO_NUMBER = "no number"

BRACKETED = re.compile(r"\(([a-zA-Z])\)")
QUOTED = 'The answer is "'


def official(prediction: Prediction, targets: Targets) -> Outcome:
    """`calculate_score.py` on an extracted answer: multiple choice becomes the nearest option, numbers get their form."""
    found = normalise(prediction.text, targets)
    if found is None:
        return Outcome(0.0, None, NO_NUMBER)
    return Outcome(float(found in targets.texts), found)


def rules(prediction: Prediction, targets: Targets) -> Outcome:
    """The authors' rules on a response as it stands; where they would ask a judge model the answer counts as unparsed."""
    found = extraction(prediction, targets)
    if found.problem or not found.read:
        return Outcome(0.0, None, found.problem or NO_ANSWER)
    return official(Prediction(found.read), targets)


def extraction(prediction: Prediction, targets: Targets) -> Outcome:
    """How many answers `extract_answer.py --quick_extract` needs no judge for, whatever they are worth.

    Those are: an option; a number of the question's type; what stands in `The answer is "..".`; an empty response.
    """
    text, kind = prediction.text, targets.fact("answer_type")
    found: str | None = None
    if not text or (targets.fact("question_type") == "multi_choice" and text in targets.choices):
        found = text
    elif kind in ("integer", "float"):
        found = _typed(text, kind)
    found = quoted(text) if found is None else found
    return Outcome(0.0, None, NEEDS_A_JUDGE) if found is None else Outcome(1.0, found)


def normalise(text: str, targets: Targets) -> str | None:
    """An extracted answer in the form of the targets, None where it is no number and should be.

    QUIRK: numbers are cut off to integers, not rounded, and floats are written without trailing zeros.
    """
    if targets.fact("question_type") == "multi_choice":
        return _nearest(text.strip(), targets)
    kind = targets.fact("answer_type")
    try:
        if kind == "integer":
            return str(int(float(text)))
        if kind == "float":
            return str(round(float(text), int(targets.fact("precision"))))
    except (ValueError, OverflowError):
        return None
    return text


def _nearest(text: str, targets: Targets) -> str | None:
    """The option of the first bracketed letter, else of the letter alone, else the one that it takes fewest changes to reach."""
    letter = match[1].upper() if (match := BRACKETED.search(text)) else text
    letters = [chr(ord("A") + place) for place in range(len(targets.choices))]
    if letter in letters:
        return targets.choices[letters.index(letter)]
    return min(targets.choices, key=lambda choice: edit_distance(letter, choice), default=None)


def _typed(text: str, kind: str) -> str | None:
    try:
        return str(int(text)) if kind == "integer" else str(float(text))
    except (ValueError, OverflowError):
        return None


def quoted(text: str) -> str | None:
    """What the pattern `The answer is "(.*)"\\.` finds: on the first line that has both ends, up to its last one."""
    for line in text.split("\n"):
        begin = line.find(QUOTED)
        end = line.rfind('".')
        if begin >= 0 and end >= begin + len(QUOTED):
            return line[begin + len(QUOTED) : end]
    return None


VARIANTS = {"official": each(official), "rules": each(rules), "extraction": each(extraction)}
