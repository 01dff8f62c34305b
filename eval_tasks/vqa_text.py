"""The normalisation of short answers that VQA's evaluation and its descendants share; its tables are in `data/`.

GT-Vision-Lab/VQA `vqaEval.py`, identical but for details in mmf, LAVIS, Qwen-VL, OpenFlamingo and IDEFICS' code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

REMEMBERED_LETTERS = 100
REMEMBERED_TEXTS = 1 << 18


class Remembered(dict[str, str]):
    """A rule's results by text: people's answers repeat. Long texts are not kept, a full memory starts anew."""

    def __init__(self, rule: Callable[[str], str]) -> None:
        super().__init__()
        self._rule = rule

    def __missing__(self, text: str) -> str:
        made = self._rule(text)
        if len(text) <= REMEMBERED_LETTERS:
            if len(self) >= REMEMBERED_TEXTS:
                self.clear()
            self[text] = made
        return made


@cache
def _tables() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "data" / "vqa_tables.json").read_text(encoding="utf-8"))


NUMBER_WORDS: dict[str, str] = _tables()["number_words"]
ARTICLES = frozenset(_tables()["articles"])
MARKS = frozenset(_tables()["punctuation_in_order"])
CONTRACTIONS: dict[str, str] = _tables()["contractions"]

PERIOD = re.compile(_tables()["period_regex"])
# QUIRK: the authors pass a flag where the number of replacements belongs, so only the first 32 full stops go.
PERIODS_REMOVED: int = _tables()["period_max_removals"]
COMMA_IN_NUMBER = re.compile(_tables()["comma_number_regex"])


def _plain(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _without_punctuation(text: str) -> str:
    # Tests are made on the text as it stands, so that the order of the marks does not matter.
    found = MARKS.intersection(text)
    has_comma = "," in found and COMMA_IN_NUMBER.search(text) is not None
    made = text
    for mark in found:
        made = made.replace(mark, "" if has_comma or f"{mark} " in text or f" {mark}" in text else " ")
    return PERIOD.sub("", made, count=PERIODS_REMOVED) if "." in made else made


def with_digits(text: str, contractions: dict[str, str] = CONTRACTIONS) -> str:
    """Lower case, number words up to ten as digits, no articles, apostrophes in contractions."""
    kept: list[str] = []
    for word in text.lower().split():
        digits = NUMBER_WORDS.get(word, word)
        if digits not in ARTICLES:
            kept.append(contractions.get(digits, digits))
    return " ".join(kept)


def _normalised(text: str) -> str:
    return with_digits(_without_punctuation(_plain(text)))


def _evalai_normalised(text: str) -> str:
    word = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return _normalised(word)


# Looked up millions of times, so they are the memories themselves and no functions around them.

plain: Callable[[str], str] = Remembered(_plain).__getitem__
"""Line ends and tabs as blanks, none at the ends."""

without_punctuation: Callable[[str], str] = Remembered(_without_punctuation).__getitem__
"""Marks gone where one stands beside a blank or a comma within a number, blanks in their place otherwise.

QUIRK: a comma within a number anywhere decides about every mark; the period rule, meant to spare decimals, removes any
full stop that no digit follows.
"""

normalised: Callable[[str], str] = Remembered(_normalised).__getitem__
"""An answer after all steps of VQA's evaluation."""

evalai_normalised: Callable[[str], str] = Remembered(_evalai_normalised).__getitem__
"""An answer after mmf's `EvalAIAnswerProcessor`, which splits `'s` off and drops commas and question marks first."""
