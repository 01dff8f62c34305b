"""A prompt as it was sent, taken apart: text, special tokens, pictures in their places, and which part is which shot."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from itertools import groupby, takewhile
from typing import Literal, NamedTuple

SPECIAL = re.compile(r"<\|[^<>|\s]{1,40}\|>|</?[a-z_]{1,40}>|\[/?INST\]|<</?SYS>>")
"""Tokens that no one typed, as the families' templates write them."""

CLOSING = re.compile(r"<\|(?:im_end|endofchunk|endoftext|end)\|>|</s>|<end_of_utterance>")
"""Tokens that end a turn: what stands behind the last one before a picture belongs to the picture's turn."""


WORDS = re.compile(r"\s+|\S+")

MOST_SET_APART = 20_000
"""Words and blanks of two prompts that are compared one by one, half a second's work; of more, all is marked."""


class Piece(NamedTuple):
    """A part of a prompt. `number` is a picture's, from 0, and how many characters are missing where a gap is.

    `is_apart`: the prompt that this one is compared with does not hold it.
    """

    kind: Literal["text", "token", "picture", "gap"]
    text: str
    number: int = -1
    is_apart: bool = False


class Part(NamedTuple):
    """The pieces of one shot, numbered from 0, or, without a number, of what stands before all shots or of the question."""

    shot: int | None
    pieces: tuple[Piece, ...]


def pieces(prompt: str, digests: Sequence[str], first: int = 0) -> list[Piece]:
    """The prompt's parts in order. A picture stands in the text as a mark with the first 12 digits of its digest.

    The pictures before the one numbered `first` stand in another part of the prompt.
    """
    found: list[Piece] = []
    begin = 0
    for number, digest in enumerate(digests[first:], first):
        mark = f":{digest[:12]}>"
        place = prompt.find(mark, begin)
        if place < 0:
            continue
        opened = prompt.rfind("<", begin, place)
        found += _words(prompt[begin : opened if opened >= 0 else place])
        begin = place + len(mark)
        found.append(Piece("picture", prompt[max(opened, 0) : begin], number))
    return [*found, *_words(prompt[begin:])]


def parts(found: Sequence[Piece], shots: int) -> list[Part]:
    """The pieces by shot. A prompt whose pictures do not tell its shots apart stays whole."""
    pictures = [place for place, piece in enumerate(found) if piece.kind == "picture"]
    if not shots or not pictures or len(pictures) % (shots + 1):
        return [Part(None, tuple(found))]
    each = len(pictures) // (shots + 1)
    begins = [_begin(found, place) for place in pictures[::each]]
    # A word or a newline may end one shot and begin the next within one piece of text.
    split: list[list[Piece]] = [[] for _ in range(shots + 2)]
    for place, piece in enumerate(found):
        behind = sum(place > one.place for one in begins)
        at = next((one for one in begins if one.place == place), None)
        if at is None:
            split[behind].append(piece)
            continue
        if at.letter:
            split[behind].append(piece._replace(text=piece.text[: at.letter]))
        if piece.text[at.letter :] or piece.kind == "picture":
            split[behind + 1].append(piece._replace(text=piece.text[at.letter :]))
    numbers = [None, *range(shots), None]
    return [Part(number, tuple(held)) for number, held in zip(numbers, split, strict=True) if held]


def elided(found: Sequence[Piece], most: int) -> list[Piece]:
    """The pieces, with a gap for the middle of each text that is longer than `most`: what is asked stands at the end."""
    held: list[Piece] = []
    for piece in found:
        half, missing = most // 2, len(piece.text) - most
        if piece.kind == "text" and missing > 0:
            begin, end = piece.text[:half], piece.text[-half:]
            held += [piece._replace(text=begin), Piece("gap", "", missing), piece._replace(text=end)]
        else:
            held.append(piece)
    return held


def apart(a: Sequence[Piece], b: Sequence[Piece]) -> tuple[list[Piece], list[Piece]]:
    """The pieces of two prompts; what only one of them holds is marked, word by word."""
    left, right = _one_by_one(a), _one_by_one(b)
    # Most prompts begin and end alike; what is between is short enough to be set side by side.
    first = _alike(left, right)
    last = _alike(left[first:][::-1], right[first:][::-1])
    between = left[first : len(left) - last], right[first : len(right) - last]
    steps = [("replace", 0, len(between[0]), 0, len(between[1]))]
    if len(between[0]) + len(between[1]) <= MOST_SET_APART:
        a_between, b_between = ([piece[:2] for piece in side] for side in between)
        steps = difflib.SequenceMatcher(None, a_between, b_between).get_opcodes()
    marked: tuple[list[Piece], list[Piece]] = (left[:first], right[:first])
    for kind, i1, i2, j1, j2 in steps:
        for side, held in zip(marked, (between[0][i1:i2], between[1][j1:j2]), strict=True):
            side += [piece._replace(is_apart=kind != "equal") for piece in held]
    for side, held in zip(marked, (left, right), strict=True):
        side += held[len(held) - last :]
    return _joined(marked[0]), _joined(marked[1])


def _one_by_one(found: Sequence[Piece]) -> list[Piece]:
    """With every word and blank of a text as a piece."""
    return [
        piece._replace(text=word)
        for piece in found
        for word in (WORDS.findall(piece.text) if piece.kind == "text" else [piece.text])
    ]


def _alike(a: Sequence[Piece], b: Sequence[Piece]) -> int:
    """How many pieces both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0][:2] == pair[1][:2], zip(a, b, strict=False)))


def _joined(found: Sequence[Piece]) -> list[Piece]:
    """With texts that follow each other, and are both marked or both not, as one."""
    held: list[Piece] = []
    for (kind, is_apart), group in groupby(found, lambda piece: (piece.kind, piece.is_apart)):
        same = [*group]
        held += [Piece("text", "".join(piece.text for piece in same), -1, is_apart)] if kind == "text" else same
    return held


class _Place(NamedTuple):
    place: int
    letter: int


def _begin(found: Sequence[Piece], picture: int) -> _Place:
    """Where the turn of a picture begins: behind the line or the closing token before it."""
    place = picture
    while place > 0:
        before = found[place - 1]
        if before.kind == "picture" or (before.kind == "token" and CLOSING.fullmatch(before.text)):
            break
        if before.kind == "text":
            newline = before.text.rfind("\n")
            if newline >= 0:
                is_at_end = newline + 1 == len(before.text)
                return _Place(place, 0) if is_at_end else _Place(place - 1, newline + 1)
        place -= 1
    return _Place(place, 0)


def _words(text: str) -> list[Piece]:
    found: list[Piece] = []
    begin = 0
    for match in SPECIAL.finditer(text):
        if match.start() > begin:
            found.append(Piece("text", text[begin : match.start()]))
        found.append(Piece("token", match.group()))
        begin = match.end()
    if begin < len(text):
        found.append(Piece("text", text[begin:]))
    return found
