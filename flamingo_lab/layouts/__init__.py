"""Published layouts that several families share: how a part's `config.json` and tensor names read."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import get_args

from flamingo_lab.config import Activation, Rotary
from flamingo_lab.errors import BadConfig


@contextmanager
def reading(what: str) -> Generator[None]:
    """Turn a key that a configuration lacks into one clear line."""
    try:
        yield
    except KeyError as error:
        raise BadConfig(f"{what}: {error} is missing or not a known value") from None


def activation(name: str) -> Activation:
    """A published activation that the core has."""
    for known in get_args(Activation):
        if known == name:
            return known
    raise BadConfig(f"config.json: the activation {name!r} is none of {', '.join(get_args(Activation))}")


def partly_rotary(base: float, fraction: float, head_width: int) -> Rotary:
    """Rotary positions on a part of each head, which has to be an even number of channels."""
    if int(head_width * fraction) % 2:
        raise BadConfig(f"config.json: {fraction} of heads {head_width} wide is odd; rotary positions need pairs")
    return Rotary(base, fraction)
