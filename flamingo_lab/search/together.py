"""Many guided searches at once: what they ask next is asked of the search model together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from flamingo_lab.search.guided import Ask, Outcome, Search, Seen

TOGETHER = 8
"""Searches that go on at the same time; each keeps its picture's heat maps, up to 16 bytes a pixel."""


class Looks(Protocol):
    """A search model."""

    def look(self, asks: Sequence[Ask]) -> Sequence[Seen | Exception]:
        """What is seen, for each question; the reason where nothing could be."""
        ...


class Ended(NamedTuple):
    """A search's outcome, or what went wrong in it, and its share of the time."""

    outcome: Outcome | Exception
    seconds: float


@dataclass
class _Running:
    number: int
    search: Search
    ask: Ask
    seconds: float = 0.0


def run(model: Looks, begin: Iterable[Callable[[], Search]]) -> dict[int, Ended]:
    """Every search by its number in `begin`, each begun when there is room for it. One that fails ends alone."""
    ended: dict[int, Ended] = {}
    waiting = enumerate(begin)
    running: list[_Running] = []
    while True:
        running += _begun(waiting, TOGETHER - len(running), ended)
        if not running:
            return ended
        began = time.perf_counter()
        seen = model.look([one.ask for one in running])
        share = (time.perf_counter() - began) / len(running)
        going: list[_Running] = []
        for one, answer in zip(running, seen, strict=True):
            one.seconds += share
            outcome = answer if isinstance(answer, Exception) else _step(one, answer)
            if outcome is None:
                going.append(one)
            else:
                ended[one.number] = Ended(outcome, one.seconds)
        running = going


def _begun(
    waiting: Iterator[tuple[int, Callable[[], Search]]], room: int, ended: dict[int, Ended]
) -> Iterator[_Running]:
    """As many searches as there is room for, at their first question."""
    begun = 0
    while begun < room:
        number, begin = next(waiting, (None, None))
        if number is None or begin is None:
            return
        try:
            search = begin()
            yield _Running(number, search, next(search))
            begun += 1
        except Exception as error:  # a picture that cannot be read, say; the other searches go on
            ended[number] = Ended(error, 0.0)


def _step(one: _Running, seen: Seen) -> Outcome | Exception | None:
    """Go on to the next question; what came out where there is none."""
    try:
        one.ask = one.search.send(seen)
    except StopIteration as end:
        outcome: Outcome = end.value
        for visit in outcome.path:
            visit.heat = None  # it has done its work, and is as large as the patch
        return outcome
    except Exception as error:  # a parser that is not installed, say; the other searches go on
        return error
    return None
