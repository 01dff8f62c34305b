"""Requests in the order in which they share most, cut into pieces where they share least.

What prompts share is computed once inside a replica, so requests that begin alike belong into one piece. The key of a
request is what its prompt says, with the digest of each picture where it stands, as in `engine/tree.py`: sorted by it, the
requests below any node of the prefix tree stand side by side, and a cut where little is shared falls between subtrees.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized

from flamingo_lab.errors import BadImage
from flamingo_lab.model import Request
from flamingo_lab.prompt import Image, Prompt

WINDOW = 8192
"""Requests that are read and sorted together, so that any number of them takes the same memory."""

PICTURE = "\x00"
"""What stands behind a picture's digest in a key, so that it is shared only if the whole picture is."""

PICTURE_LETTERS = 1000
"""Letters of text that are worth as much as a picture: it is encoded, and takes many tokens."""

STRAY = 0.5
"""How far from the size that is asked for a better place to cut may lie, as a share of it."""


class Beginnings:
    """Pieces of a stream of requests, each of any size that is asked for. At most one window is held."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._stream: Iterator[Request] = iter(requests)
        self._total = len(requests) if isinstance(requests, Sized) else None
        self._taken = 0
        self._window: list[Request] = []
        self._shared: list[int] = []
        self._at = 0
        self._is_last = False

    @property
    def left(self) -> int | None:
        """Requests that are not taken yet; None where that is not known."""
        if self._total is not None:
            return self._total - self._taken
        return len(self._window) - self._at if self._is_last else None

    def take(self, size: int) -> Sequence[Request]:
        """About `size` requests that begin alike, fewer at the end of a window; none once all are taken."""
        if self._at == len(self._window):
            self._fill()
        end = self._cut(size)
        piece = self._window[self._at : end]
        self._at = end
        self._taken += len(piece)
        return piece

    def _fill(self) -> None:
        window = list(itertools.islice(self._stream, WINDOW))
        following = next(self._stream, None)
        self._is_last = following is None
        if following is not None:
            self._stream = itertools.chain([following], self._stream)
        keyed = sorted(((key(one.prompt), one) for one in window), key=lambda pair: pair[0])
        self._window = [one for _, one in keyed]
        self._shared = [0, *(worth(a, b) for (a, _), (b, _) in itertools.pairwise(keyed))]
        self._at = 0

    def _cut(self, size: int) -> int:
        """Where a piece of about this size ends: where neighbours share least, and of such places the nearest."""
        stray = int(size * STRAY)
        if len(self._window) - self._at <= size + stray:
            return len(self._window)
        aim = self._at + size
        return min(
            range(max(self._at + 1, aim - stray), aim + stray + 1),
            key=lambda place: (self._shared[place], abs(place - aim)),
        )


def key(prompt: Prompt) -> str:
    """What a prompt says from its beginning on. A picture that cannot be read stands for itself by its name."""
    said: list[str] = []
    for turn in prompt.turns:
        said.append(turn.role)
        for part in turn.parts:
            said.append(f"{_name(part)}{PICTURE}" if isinstance(part, Image) else part)
    return "\n".join(said)


def worth(first: str, second: str) -> int:
    """What it is worth to compute the beginning of two keys once, in letters."""
    low, high = 0, min(len(first), len(second))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[low:middle] == second[low:middle] else (low, middle - 1)
    return low + PICTURE_LETTERS * first.count(PICTURE, 0, low)


def _name(image: Image) -> str:
    try:
        return image.digest
    except BadImage:
        return image.name
