"""Phrases, boxes and pictures in Qwen-VL's texts, read and written.

A box is two corners on a grid of 0..1000 over the picture: `<ref>the dog</ref><box>(10,20),(300,999)</box>`. The forms
are those of the published tokenizer's `to_list_format`, `from_list_format` and `_fetch_all_box_with_ref`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from flamingo_lab.errors import BadPrompt

Tagged = Literal["ref", "box", "quad", "image"]

TAGS: dict[Tagged, tuple[str, str]] = {
    "ref": ("<ref>", "</ref>"),
    "box": ("<box>", "</box>"),
    "quad": ("<quad>", "</quad>"),
    "image": ("<img>", "</img>"),
}

TEMPLATE = ("<|im_start|>", "<|im_end|>", *(f"<|extra_{number}|>" for number in range(205)))
"""Tokens that no text holds."""

STARTS: dict[str, Tagged] = {start: kind for kind, (start, _) in TAGS.items()}
START = re.compile("|".join(STARTS))
CORNERS = re.compile(r"\((\d+),(\d+)\),\((\d+),(\d+)\)")


class Piece(NamedTuple):
    """A part of a text: what kind it is, and what stands between its two tags."""

    kind: Tagged | Literal["text"]
    text: str


class Box(NamedTuple):
    """Two corners on the grid of 0..1000, and the phrase that stands before them."""

    left: int
    top: int
    right: int
    bottom: int
    phrase: str | None = None


def pieces(text: str) -> Iterator[Piece]:
    """The parts of a text in order. Raises `BadPrompt` for a tag without its end and for a token of the template."""
    text = unicodedata.normalize("NFC", text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if found := next((token for token in TEMPLATE if token in text), None):
        raise BadPrompt(f"the text holds {found}, a token of the template; take it out")
    while match := START.search(text):
        kind = STARTS[match[0]]
        end = TAGS[kind][1]
        inner, found_end, rest = text[match.end() :].partition(end)
        if not found_end:
            raise BadPrompt(f"{match[0]} without {end} behind it, in {text[-60:]!r}")
        if match.start():
            yield Piece("text", text[: match.start()])
        yield Piece(kind, inner)
        text = rest
    if text:
        yield Piece("text", text)


def boxes(text: str) -> Iterator[Box]:
    """The boxes of a text, each with the phrase directly before it. Raises `BadPrompt` for a box of another form."""
    phrase: str | None = None
    for piece in pieces(text):
        if piece.kind == "box":
            corners = CORNERS.fullmatch(piece.text)
            if corners is None:
                raise BadPrompt(f"{piece.text!r} is no box; (x1,y1),(x2,y2) in whole numbers is expected")
            yield Box(*map(int, corners.groups()), phrase=phrase)
        phrase = piece.text.strip() if piece.kind == "ref" else None


def grounded(phrase: str | None, *corners: Sequence[float]) -> str:
    """A phrase, None for none, and its boxes (x1, y1, x2, y2) as the model is told them; fractions are cut off."""
    named = "" if phrase is None else f"<ref>{phrase}</ref>"
    return named + "".join(
        f"<box>({int(left)},{int(top)}),({int(right)},{int(bottom)})</box>" for left, top, right, bottom in corners
    )
