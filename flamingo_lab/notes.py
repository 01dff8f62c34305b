"""Things that a person should know and that change no answer: each one logged once."""

from __future__ import annotations

import logging
from threading import Lock

_lock = Lock()
_told: set[str] = set()


def note(text: str) -> None:
    """Say it, if it has not been said yet, by whichever thread. Without any set-up of `logging` it goes to stderr."""
    with _lock:
        is_new = text not in _told
        _told.add(text)
    if is_new:
        logging.getLogger("flamingo_lab").warning(text)


def forget() -> None:
    """Say everything anew."""
    with _lock:
        _told.clear()
