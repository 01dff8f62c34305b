"""Boxes and points: pixels of the picture in text, number tokens between marks in the sequence (Fuyu).

Text: `<box>top, left, bottom, right</box>` and `<point>x, y</point>`. A token counts in steps of two pixels of the picture
as the model sees it. Rules, order and rounding are those of transformers 4.35.0, models/fuyu/processing_fuyu.py. Needs no
torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from flamingo_lab.errors import BadPrompt
from flamingo_lab.markup import known
from flamingo_lab.patches import Patching
from flamingo_lab.tiles import Size
from flamingo_lab.tokens import Tokenizer

TAG = re.compile(r"(</?box>|</?point>|<0x0[0-3]>)")
OPENING = frozenset({"<box>", "<point>", "<0x00>", "<0x02>"})

ANSWER = "<0x04>"
"""The mark behind which the model answers."""


class Kind(NamedTuple):
    """A kind of location: its name in text, how many numbers it has, and the tokens around them."""

    name: str
    numbers: int
    opening: str
    closing: str


KINDS = (Kind("box", 4, "<0x00>", "<0x01>"), Kind("point", 2, "<0x02>", "<0x03>"))


@dataclass(frozen=True)
class Locations:
    """Both directions between a picture's pixels and tokens. `patching` says how the model sees the picture."""

    patching: Patching

    def encode(self, text: str, size: Size, tokenizer: Tokenizer) -> list[int]:
        """Ids of a text with locations in a picture of this size; each text between tags is encoded by itself.

        QUIRK: the count of the numbers decides between box and point, not the tag, and the closing tag may lack
        (test_locations_become_single_numbers). Raises `BadPrompt`.
        """
        ids: list[int] = []
        pieces = TAG.split(text)
        for place in range(0, len(pieces), 2):
            if pieces[place] and place and pieces[place - 1] in OPENING:
                ids += self._location(pieces[place], size, tokenizer)
            elif pieces[place]:
                ids += tokenizer.encode(pieces[place])
        return ids

    def in_pixels(self, ids: Sequence[int], tokenizer: Tokenizer, size: Size | None) -> list[int]:
        """A sequence's ids with each location as text, in pixels of a picture of this size, None where there is none.

        What is no whole location stays as it is; the authors' loop does not end there.
        """
        said = list(ids)
        for kind in KINDS:
            said = self._said(said, kind, tokenizer, size)
        return said

    def finish(self, ids: Sequence[int], tokenizer: Tokenizer, sizes: Sequence[Size]) -> list[int]:
        """An answer's ids with each location as text. An answer follows its prompt, so none of it stands at position 0."""
        return self.in_pixels([known(tokenizer, ANSWER), *ids], tokenizer, sizes[0] if sizes else None)[1:]

    def _location(self, text: str, size: Size, tokenizer: Tokenizer) -> list[int]:
        values = _numbers(text.split(","))
        kind = next((kind for kind in KINDS if values and kind.numbers == len(values)), None)
        if values is None or kind is None:
            raise BadPrompt(
                f"a location holds {text!r}; write <box>top, left, bottom, right</box> or <point>x, y</point> in pixels"
            )
        scale = self.patching.scale(size)
        found = [tokenizer.id_of(str(round(value / 2 * scale))) for value in values]
        steps = [token for token in found if token is not None]
        if len(steps) < len(found):
            raise BadPrompt(
                f"a location at {text!r} is beyond what the model can name; the picture has {size[0]} x {size[1]} pixels"
            )
        return [known(tokenizer, kind.opening), *steps, known(tokenizer, kind.closing)]

    def _said(self, ids: list[int], kind: Kind, tokenizer: Tokenizer, size: Size | None) -> list[int]:
        """The ids with each location of this kind as text.

        QUIRK: a location at position 0 is not found unless another one opens behind it: the authors ask whether any
        position is true (golden fuyu_processor, post_box_at_position_0_is_kept).
        """
        opening, closing = known(tokenizer, kind.opening), known(tokenizer, kind.closing)
        place = 0 if opening in ids[1:] else 1
        said = ids[:place]
        while place < len(ids):
            end = place + kind.numbers + 1
            is_framed = ids[place] == opening and ids[end : end + 1] == [closing]
            values = _numbers(_piece(token, tokenizer) for token in ids[place + 1 : end]) if is_framed else None
            if values is None:
                said.append(ids[place])
                place += 1
            else:
                pixels = ", ".join(str(self._pixel(value, size)) for value in values)
                # The first token is the word-start mark of the text, not of the tag.
                said += tokenizer.encode(f" <{kind.name}>{pixels}</{kind.name}>")[1:]
                place = end + 1
        return said

    def _pixel(self, value: float, size: Size | None) -> int:
        """Where in the picture a number stands: an even count of pixels.

        QUIRK: in float32 and with a reciprocal where one would divide, as the authors' tensors compute it
        (test_pixels_are_computed_in_float32).
        """
        import numpy as np

        if size is None or self.patching.fits(size):
            return 2 * int(value)
        one = np.float32(1)
        across = np.float32(self.patching.width_px) * (one / np.float32(size[0]))
        down = np.float32(self.patching.height_px) * (one / np.float32(size[1]))
        return 2 * int(np.float32(value) * (one / min(across, down)))


def _numbers(texts: Iterable[str]) -> list[float] | None:
    """The finite numbers that texts are, None where one is something else."""
    try:
        values = [float(text) for text in texts]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None


def _piece(token: int, tokenizer: Tokenizer) -> str:
    """A token's own text; empty where it has none, or a word-start mark before it."""
    text = tokenizer.decode([token])
    return text if tokenizer.id_of(text) == token else ""
