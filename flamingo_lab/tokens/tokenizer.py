"""What every tokenizer does, and what several of them need for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Protocol

from flamingo_lab.errors import BadCheckpoint

TIDIED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
"""What transformers' `clean_up_tokenization` takes the blanks out of, in its order."""


class Tokenizer(Protocol):
    """What the renderer and the decoding need of a tokenizer."""

    @property
    def specials(self) -> frozenset[int]:
        """Ids that stand for no text."""
        ...

    def encode(self, text: str) -> list[int]:
        """Ids of a text that may hold special tokens; nothing is added."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        ...

    def id_of(self, token: str) -> int | None:
        """A token's id, None if the vocabulary lacks it."""
        ...


def splitter(tokens: Collection[str]) -> Callable[[str], list[str]]:
    """What splits a text at these tokens, the longest first where several begin at one place; empty pieces are left out."""
    if not tokens:
        return lambda text: [text] if text else []
    pattern = re.compile("(" + "|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) + ")")
    return lambda text: [piece for piece in pattern.split(text) if piece]


def tidied(text: str) -> str:
    """A decoded text without the blanks before punctuation."""
    for blanks in TIDIED:
        text = text.replace(blanks, blanks.strip(" "))
    return text


def present(*files: Path) -> None:
    """Raise `BadCheckpoint` for the first of a tokenizer's files that is missing."""
    for file in files:
        if not file.is_file():
            raise BadCheckpoint(f"{file}: the tokenizer is missing; download the folder again")
