"""A few requests of unequal length, with up to three pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

import flamingo_lab as fl


def asked(decoding: fl.Decoding, count: int = 8, **rules: Any) -> list[fl.Request]:
    """Requests that differ in length and pictures; `rules` are further fields of a request."""
    held: dict[str, Any] = {"max_new_tokens": 8} | rules
    return [
        fl.Request(str(n), fl.Prompt.ask(*_pictures(n), "what is it" + " there" * (n % 3) + "?"), decoding, **held)
        for n in range(count)
    ]


def _pictures(number: int) -> list[fl.Image]:
    drawn = [
        np.random.default_rng([number, i]).integers(0, 256, (9, 12, 3), dtype=np.uint8) for i in range(1 + number % 3)
    ]
    return [fl.Image(Image.fromarray(pixels)) for pixels in drawn]
