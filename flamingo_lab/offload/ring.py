"""Memory that is given out and given back in the same order."""

from __future__ import annotations

from collections import deque


class Ring:
    """Places in a buffer of `nbytes`, each in one piece: the one given out first is given back first."""

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        self._given: deque[tuple[int, int]] = deque()

    def give(self, nbytes: int) -> int | None:
        """Where a place of this size begins, None where there is none as long as others are given out."""
        start = self._start(nbytes)
        if start is not None:
            self._given.append((start, start + nbytes))
        return start

    def take_back(self) -> None:
        """The place that was given out first is free again."""
        self._given.popleft()

    def _start(self, nbytes: int) -> int | None:
        if not self._given:
            return 0 if nbytes <= self.nbytes else None
        first, last = self._given[0][0], self._given[-1][1]
        if last <= first:  # it goes round: what is free lies between the newest and the oldest
            return last if last + nbytes <= first else None
        if last + nbytes <= self.nbytes:
            return last
        return 0 if nbytes <= first else None
