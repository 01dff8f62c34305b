"""A text that is longer than a model's positions, in pieces that each stand behind some of what comes before."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from typing import NamedTuple

from flamingo_lab.errors import BadPrompt

WORD = re.compile(r"\s*\S+\s*\Z|\s*\S+")


class Window(NamedTuple):
    """A piece of a text, and what a model is shown before it."""

    before: str
    piece: str


def windows(text: str, tokens: Callable[[str], int], limit: int | None) -> list[Window]:
    """The text whole where it fits into `limit` tokens, else in pieces that end with words; each word is in one piece.

    From the second piece on, up to half of the tokens are what stands before it. lm-eval's own class cuts between tokens and
    shows a single token before a piece, so that a long text is less likely there.
    """
    if limit is None or tokens(text) <= limit:
        return [Window("", text)]
    ends = [word.end() for word in WORD.finditer(text)]
    found: list[Window] = []
    first = 0  # the piece's first word
    while first < len(ends):
        start = ends[first - 1] if first else 0
        begin = _beginning(text, ends[:first], start, tokens, limit // 2)
        fitting = bisect_right(ends, limit, lo=first, key=lambda end, begin=begin: tokens(text[begin:end]))
        if fitting == first:
            raise BadPrompt(f"a single word of the text takes more than the model's {limit} positions")
        found.append(Window(text[begin:start], text[start : ends[fitting - 1]]))
        first = fitting
    return found


def _beginning(text: str, ends: list[int], start: int, tokens: Callable[[str], int], most: int) -> int:
    """Where the words before a piece begin that take at most so many tokens."""
    too_many = bisect_right(ends, -most - 1, key=lambda end: -tokens(text[end:start]))
    return ends[too_many] if too_many < len(ends) else start
