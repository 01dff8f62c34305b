"""The names that a mistyped one may stand for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LIKE = 0.7
"""Share of letters that two names have in common, from which on one may be meant by the other: `foo` is not `refcoco`."""

MOST = 3


def near(name: str, names: Iterable[str]) -> list[str]:
    """Those that are like it, the nearest first, else those that begin with it; none where all are far."""
    there, typed = list(names), name.lower()
    like = difflib.get_close_matches(typed, there, n=MOST, cutoff=LIKE)
    return like or [one for one in there if typed and one.startswith(typed)][:MOST]
