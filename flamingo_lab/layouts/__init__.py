"""Published layouts that several families share: how a part's `config.json` and tensor names read."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from flamingo_lab.errors import BadConfig


@contextmanager
def reading(what: str) -> Generator[None]:
    """Turn a key that a configuration lacks into one clear line."""
    try:
        yield
    except KeyError as error:
        raise BadConfig(f"{what}: {error} is missing or not a known value") from None
