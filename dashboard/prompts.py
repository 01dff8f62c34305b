"""A prompt as it was sent, taken apart: text, special tokens, pictures in their places, and which part is which shot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

SPECIAL = re.compile(r"<\|[^<>|\s]{1,40}\|>|</?[a-z_]{1,40}>|\[/?INST\]|<</?SYS>>")
"""Tokens that no one typed, as the families' templates write them."""

CLOSING = re.compile(r"<\|(?:im_end|endofchunk|endoftext|end)\|>|</s>|<end_of_utterance>")
"""Tokens that end a turn: what stands behind the last one before a picture belongs to the picture's turn."""


class Piece(NamedTuple):
    """A part of a prompt. `number` is a picture's, from 0."""

    kind: Literal["text", "token", "picture"]
    text: str
    number: int = -1


class Part(NamedTuple):
    """The pieces of one shot, numbered from 0, or, without a number, of what stands before all shots or of the question."""

    shot: int | None
    pieces: tuple[Piece, ...]


def pieces(prompt: str, digests: Sequence[str]) -> list[Piece]:
    """The prompt's parts in order. A picture stands in the text as a mark with the first 12 digits of its digest."""
    found: list[Piece] = []
    begin = 0
    for number, digest in enumerate(digests):
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
