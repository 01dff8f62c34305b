"""The normalisation of short answers that VQA's evaluation and its descendants share; its tables are in `data/`.

GT-Vision-Lab/VQA `vqaEval.py`, identical but for details in mmf, LAVIS, Qwen-VL, OpenFlamingo and IDEFICS' code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache, lru_cache, wraps
from pathlib import Path
from typing import Any

REMEMBERED_LETTERS = 100
REMEMBERED_TEXTS = 1 << 17


def remembered(rule: Callable[[str], str]) -> Callable[[str], str]:
    """The rule, with its results for short texts kept: people's answers repeat, and a megabyte is not worth its place."""
    held = lru_cache(maxsize=REMEMBERED_TEXTS)(rule)

    @wraps(rule)
    def apply(text: str) -> str:
        return held(text) if len(text) <= REMEMBERED_LETTERS else rule(text)

    return apply


@cache
def _tables() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "data" / "vqa_tables.json").read_text(encoding="utf-8"))


NUMBER_WORDS: dict[str, str] = _tables()["number_words"]
ARTICLES = frozenset(_tables()["articles"])
PUNCTUATION: list[str] = _tables()["punctuation_in_order"]
CONTRACTIONS: dict[str, str] = _tables()["contractions"]

PERIOD = re.compile(_tables()["period_regex"])
# QUIRK: the authors pass a flag where the number of replacements belongs, so only the first 32 full stops go.
PERIODS_REMOVED: int = _tables()["period_max_removals"]
COMMA_IN_NUMBER = re.compile(_tables()["comma_number_regex"])


def plain(text: str) -> str:
    """Line ends and tabs as blanks, none at the ends."""
    return text.replace("\n", " ").replace("\t", " ").strip()


@remembered
def without_punctuation(text: str) -> str:
    """Marks gone where one stands beside a blank or a comma within a number, blanks in their place otherwise.

    QUIRK: a comma within a number anywhere decides about every mark; the period rule, meant to spare decimals, removes
    any full stop that no digit follows.
    """
    made = text
    has_comma = COMMA_IN_NUMBER.search(text) is not None
    for mark in PUNCTUATION:
        if mark in text:
            made = made.replace(mark, "" if has_comma or f"{mark} " in text or f" {mark}" in text else " ")
    return PERIOD.sub("", made, count=PERIODS_REMOVED)


def with_digits(text: str, contractions: dict[str, str] = CONTRACTIONS) -> str:
    """Lower case, number words up to ten as digits, no articles, apostrophes in contractions."""
    words = (NUMBER_WORDS.get(word, word) for word in text.lower().split())
    return " ".join(contractions.get(word, word) for word in words if word not in ARTICLES)


@remembered
def normalised(text: str) -> str:
    """An answer after all steps of VQA's evaluation."""
    return with_digits(without_punctuation(plain(text)))


@remembered
def evalai_normalised(text: str) -> str:
    """An answer after mmf's `EvalAIAnswerProcessor`, which splits `'s` off and drops commas and question marks first."""
    word = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return with_digits(without_punctuation(plain(word)))
