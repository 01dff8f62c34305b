"""Things that a person should know and that change no answer: each one logged once."""

from __future__ import annotations

import logging
from functools import cache


@cache
def note(text: str) -> None:
    """Say it, if it has not been said yet. Without any set-up of `logging` it goes to stderr."""
    logging.getLogger("flamingo_lab").warning(text)
