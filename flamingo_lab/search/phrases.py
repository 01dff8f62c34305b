"""From "it is most likely to appear on the table" to "table": the phrase that a search looks for next. Needs no torch.

After penghao-wu/vstar, visual_search.py, whose noun chunks are its own and not spaCy's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

from flamingo_lab.errors import MissingPackage

PIPELINE = "en_core_web_sm"

LOCATION = "most likely to appear"
"""The words behind which the search model says where."""

NOUNS = ("NOUN", "PRON")
BEFORE = ("amod", "compound", "poss")
BEHIND = ("relcl", "prep")
"""Relations of the words that belong to a noun's phrase on either side."""


class Token(NamedTuple):
    """A parsed word: its text, the blank behind it, its part of speech, its relation, and the index of its head."""

    text: str
    blank: str
    pos: str
    relation: str
    head: int


Parser = Callable[[str], Sequence[Token]]
"""A text's dependency parse."""


def spacy(text: str) -> list[Token]:
    """The parse of spaCy's small English pipeline. Raises `MissingPackage`."""
    return [Token(word.text, word.whitespace_, word.pos_, word.dep_, word.head.i) for word in _pipeline()(text)]


@cache
def _pipeline() -> Any:
    how = f"pip install 'flamingo-lab[search]', then python -m spacy download {PIPELINE}"
    try:
        import spacy as library  # pyright: ignore[reportMissingImports] - an extra
    except ImportError:
        raise MissingPackage(f"guided search reads its own phrases with spaCy, which is not installed: {how}") from None
    try:
        return library.load(PIPELINE)
    except OSError:
        raise MissingPackage(f"spaCy's pipeline {PIPELINE} is not installed: {how}") from None


def cue(answer: str, target: str, parse: Parser) -> str:
    """What to look for where a target is said to be likely: the one noun phrase of the place, else the place in words."""
    place = answer.split(LOCATION)[-1].strip().removesuffix(".").split(target)[-1]
    chunks = noun_chunks(parse(place))
    return chunks[0] if len(chunks) == 1 else f"region {place}"


def noun_chunks(tokens: Sequence[Token]) -> list[str]:
    """The longest noun phrases that share no word, in the order of the text, without determiners."""
    children: list[list[int]] = [[] for _ in tokens]
    for number, token in enumerate(tokens):
        if token.head != number:
            children[token.head].append(number)
    chunks = [_around(number, tokens, children) for number, token in enumerate(tokens) if token.pos in NOUNS]
    kept: list[range] = []
    for chunk in sorted(chunks, key=len, reverse=True):
        if not any(chunk.start < other.stop and other.start < chunk.stop for other in kept):
            kept.append(chunk)
    return [_text(tokens[chunk.start : chunk.stop]) for chunk in sorted(kept, key=lambda chunk: chunk.start)]


def _around(noun: int, tokens: Sequence[Token], children: Sequence[Sequence[int]]) -> range:
    """A noun with what belongs to it: its own words, from the nearest outwards, up to the first that does not."""
    first = last = noun
    for child in reversed([child for child in children[noun] if child < noun]):
        if tokens[child].relation not in BEFORE:
            break
        first = min(_subtree(child, children))
    for child in (child for child in children[noun] if child > noun):
        if tokens[child].relation not in BEHIND:
            break
        last = max(_subtree(child, children))
    return range(first, last + 1)


def _subtree(root: int, children: Sequence[Sequence[int]]) -> list[int]:
    """A word and all that hang on it."""
    found = [root]
    for number in found:
        found += children[number]
    return found


def _text(tokens: Sequence[Token]) -> str:
    return "".join(token.text + token.blank for token in tokens).removesuffix(tokens[-1].blank)
