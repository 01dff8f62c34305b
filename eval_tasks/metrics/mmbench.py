"""MMBench: the option that an answer names by letter or text, and the same question with its options rotated.

The authors' evaluator is VLMEvalKit (`matching_util.py`, `multiple_choice.py`); what its rules cannot read goes to a judge
model there and is a miss here, as under its `exact_matching`. Rotations of a question share a document; the fact `rotation`
is 0 for its first form, and `rotations` says how many of them the set holds, where that is known.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence

from eval_tasks.metrics import HEADLINE, Figure, Item, Outcome, Prediction, Targets, each, mean, mean_over

NO_LETTER = "no option named"
REFUSED = "refused"

NO_ANSWER = "Z"
FAILED = "Failed to obtain answer via API"
REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
TO_BLANKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
LAST_WORDS = 5
VERBOSE = re.compile(r"(?:correct\s+)?answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)


def inference(prediction: Prediction, targets: Targets) -> Outcome:
    """Each answer by itself: one letter near its end, else the text of one option."""
    letters = string.ascii_uppercase[: len(targets.choices)]
    found = _letter(prediction.text, letters) or _by_text(prediction.text, targets.choices)
    problem = REFUSED if found == NO_ANSWER else "" if found else NO_LETTER
    return Outcome(float(found in targets.texts), found, problem)


def circular(prediction: Prediction, targets: Targets) -> Outcome:
    """A question is right where all its rotations are: the figure that papers give."""
    return inference(prediction, targets)


def vanilla(prediction: Prediction, targets: Targets) -> Outcome:
    """Only the first form of each question."""
    return inference(prediction, targets)


def _letter(text: str, letters: str) -> str | None:
    """The only letter among the words, if it stands among the last four of them; `Z` for a refusal.

    QUIRK: a letter anywhere else is passed over, so that an answer which gives its reason after it is not read.
    """
    if FAILED in text:
        return None
    if any(refusal in text for refusal in REFUSALS):
        return NO_ANSWER
    words = text.translate(TO_BLANKS).split()
    there = set(words)
    named = [letter for letter in letters if letter in there]
    if len(named) == 1 and words.index(named[0]) > len(words) - LAST_WORDS:
        return named[0]
    if not named and NO_ANSWER in there:
        return NO_ANSWER
    found = VERBOSE.search(text)
    return found[1].upper() if found and found[1].upper() in letters else None


def _by_text(text: str, choices: Sequence[str]) -> str | None:
    """The letter of the only option that is part of an answer at most twice as long as all of them."""
    answer = text.lower()
    if len(answer) > 2 * sum(map(len, choices)):
        return None
    named = [
        letter for letter, choice in zip(string.ascii_uppercase, choices, strict=False) if choice.lower() in answer
    ]
    return named[0] if len(named) == 1 else None


def of_questions(items: Sequence[Item], outcomes: Sequence[Outcome]) -> Mapping[str, Figure]:
    """The share of questions with all rotations right, then of first forms, then of all rows.

    A question that lacks the answer to a rotation is wrong where another of them is, and otherwise not decided: it takes no
    part, like an answer that is missing.
    """
    asked: dict[str, list[tuple[Item, Outcome]]] = {}
    for item, outcome in zip(items, outcomes, strict=True):
        asked.setdefault(item.document, []).append((item, outcome))
    right = {
        document: min(outcome.score for _, outcome in held)
        for document, held in asked.items()
        if len(held) >= held[0][0].targets.facts.get("rotations", 1) or any(not outcome.score for _, outcome in held)
    }
    whole = mean_over(items, [right.pop(item.document, None) for item in items])  # a question's first row tells of it
    return {HEADLINE: whole, "vanilla": _first_forms(items, outcomes), "all_rows": mean(items, outcomes)[HEADLINE]}


def of_first_forms(items: Sequence[Item], outcomes: Sequence[Outcome]) -> Mapping[str, Figure]:
    """The share of first forms that are right, then of all rows."""
    return {HEADLINE: _first_forms(items, outcomes), "all_rows": mean(items, outcomes)[HEADLINE]}


def _first_forms(items: Sequence[Item], outcomes: Sequence[Outcome]) -> Figure:
    pairs = zip(items, outcomes, strict=True)
    return mean_over(items, [None if item.targets.facts.get("rotation") else one.score for item, one in pairs])


VARIANTS = {
    "circular": each(circular, of_questions, needs_all=True),
    "vanilla": each(vanilla, of_first_forms),
    "inference": each(inference),
}
