"""MMMU: a letter pulled from a response, or numbers and short texts for open questions (MMMU `eval_utils.py`).

A sample with `choices` is multiple choice, its target a letter; without them it is open, and any target will do.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Sequence

from eval_tasks.metrics import Item, Metric, Outcome, Prediction, Targets, about, each

NO_LETTER = "no letter"
SEED = 42
"""The authors seed Python's generator once, when their module is loaded."""

STRIPPED = (",", ".", "!", "?", ";", ":", "'")
LETTERS_M4 = "ABCDEFGHI"
LEAST_WORDS = 6

ENDS = re.compile(r"\.\s(?=[A-Z])|\n")
INDICATORS = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
LAST_INDICATOR = "="
INDICATOR_M4 = "answer: "

# As in the authors' code but that a number begins where no digit stands before it: the same matches, in linear time.
WITH_COMMAS = re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b")
SCIENTIFIC = re.compile(r"-?(?<!\d)\d+(?:\.\d+)?[eE][+-]?\d+")
SIMPLE = re.compile(r"-?(?:(?<!\d)\d+\.\d+|\.\d+|(?<!\d)\d+\b)(?![eE][+-]?\d+)(?![,\d])")


def official(prediction: Prediction, targets: Targets) -> Outcome:
    """The authors' parsers; where theirs would draw a letter at random the answer is wrong and counts as unparsed."""
    return _multiple_choice(prediction, targets) if targets.choices else _open(prediction, targets)


def parsed(prediction: Prediction, targets: Targets) -> Outcome:
    """`main_eval_only.py` on answers that were parsed before: a letter has to be equal; open ones are parsed once more."""
    if targets.choices:
        return Outcome(float(prediction.text in targets.texts), prediction.text)
    return _open(prediction, targets)


def idefics_m4(prediction: Prediction, targets: Targets) -> Outcome:
    """IDEFICS' evaluation code (m4 `open_ended_vqa_metrics.py`, MMMU style).

    `answer: ` points to an answer too, and a single letter is compared without blanks. QUIRK: where the target is a letter
    the whole response is looked through for it.
    """
    if targets.texts and targets.texts[0] in LETTERS_M4:
        candidates = {_normal_m4(prediction.text)}
    else:
        candidates = {_normal_m4(text) for text in _candidates(prediction.text, (*INDICATORS, INDICATOR_M4))}
    rights = [_normal_m4(target) for target in targets.texts]
    return Outcome(float(_matches(candidates, rights)), frozenset(candidates))


def drawn(items: Sequence[Item]) -> Sequence[Outcome]:
    """The authors' figures with their draws: subjects in the order of the alphabet (slice `subject`), items in the set's.

    A drawn letter counts if it is right, and the answer as unparsed all the same.
    """
    draw = random.Random(SEED)
    found: dict[int, Outcome] = {}
    for place in sorted(range(len(items)), key=lambda place: items[place].slices.get("subject", "")):
        item = items[place]
        outcome = official(item.prediction, item.targets)
        if outcome.problem:
            letter = draw.choice(string.ascii_uppercase[: len(item.targets.choices)])
            outcome = Outcome(float(letter in item.targets.texts), letter, outcome.problem)
        found[place] = outcome
    return [found[place] for place in range(len(items))]


def _multiple_choice(prediction: Prediction, targets: Targets) -> Outcome:
    """The last bracketed letter, else the last one between blanks, else the last option's text in a longer response."""
    text = prediction.text
    for sign in STRIPPED:
        text = text.strip(sign)
    text = f" {text} "
    letters = string.ascii_uppercase[: len(targets.choices)]
    for form in ("({})", " {} "):
        found = {letter: text.rfind(form.format(letter)) for letter in letters}
        if max(found.values()) >= 0:
            return _last(found, targets)
    if len(text.split()) >= LEAST_WORDS:
        lowered = text.lower()
        found = {letter: lowered.rfind(choice.lower()) for letter, choice in zip(letters, targets.choices, strict=True)}
        if max(found.values()) >= 0:
            return _last(found, targets)
    return Outcome(0.0, None, NO_LETTER)


def _last(found: dict[str, int], targets: Targets) -> Outcome:
    """The letter that is found last, the first of several at one place."""
    letter = max(found, key=lambda one: found[one])
    return Outcome(float(letter in targets.texts), letter)


def _open(prediction: Prediction, targets: Targets) -> Outcome:
    candidates = {one for text in _candidates(prediction.text, INDICATORS) for one in _normal(text)}
    rights = [one for target in targets.texts for one in _normal(target)]
    return Outcome(float(_matches(candidates, rights)), frozenset(candidates))


def _matches(candidates: set[str | float], rights: Sequence[str | float]) -> bool:
    """A text that holds one of the right texts, or a number that is one of the right numbers."""
    return any(
        right in one if isinstance(one, str) and isinstance(right, str) else one == right
        for one in candidates
        for right in rights
    )


def _candidates(text: str, indicators: Sequence[str]) -> list[str]:
    """What may be the answer in a response: the shortest end of each line after a word that points to it, and its numbers.

    QUIRK: the response is in lower case by the time that it is divided at full stops before capitals, so only line ends
    divide it.
    """
    text = text.strip().strip(".").lower()
    lines = ENDS.split(text)
    found: list[str] = []
    for place, line in enumerate(lines):
        pointing = (*indicators, LAST_INDICATOR) if place == len(lines) - 1 else indicators
        shortest = ""
        for indicator in pointing:
            if indicator in line:
                end = line.rpartition(indicator)[2].strip()
                shortest = end if not shortest or len(end) < len(shortest) else shortest
        if shortest and shortest not in STRIPPED:
            found.append(shortest)
    found = found or [text]
    return [*found, *(number for one in found for number in _numbers(one))]


def _numbers(text: str) -> list[str]:
    return [*WITH_COMMAS.findall(text), *SCIENTIFIC.findall(text), *SIMPLE.findall(text)]


def _normal(text: str) -> list[str | float]:
    """A number rounded to two decimals, or the text in lower case; a single letter needs a blank on one side."""
    normal = _normal_m4(text)
    return [f" {normal}", f"{normal} "] if isinstance(normal, str) and len(normal) == 1 else [normal]


def _normal_m4(text: str) -> str | float:
    text = text.strip()
    try:
        return round(float(text.replace(",", "")), 2)
    except ValueError:
        return text.lower()


VARIANTS = {
    "official": each(official),
    "official-draw": Metric(drawn, about(drawn), needs_all=True),
    "parsed": each(parsed),
    "idefics-m4": each(idefics_m4),
}
