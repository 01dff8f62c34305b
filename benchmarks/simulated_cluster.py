"""A cluster whose time is counted, not waited for. It drives the same `Schedule` as Ray does, so what holds here holds there.

A replica takes `shard_seconds` for each shard and a drawn time for each question, and tells its answers every half second. It
is lost at a stated rate; that is noticed after a while, and another one is loaded. The driver does one thing after the other.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import flamingo_lab as fl
from flamingo_lab.replicas.replica import TOGETHER, TOGETHER_SECONDS
from flamingo_lab.replicas.schedule import Schedule, Shard


@dataclass(frozen=True)
class Service:
    """What things take, in seconds. `spread`: the deviation of a question's logarithm; `driver_seconds`: for each answer.

    lifetime_seconds: how long a replica lives on average; noticed_seconds: until its loss is seen; load_seconds: until
    another one answers.
    """

    question_seconds: float
    shard_seconds: float
    driver_seconds: float
    spread: float = 0.5
    lifetime_seconds: float = float("inf")
    noticed_seconds: float = 30.0
    load_seconds: float = 60.0


class Ended(NamedTuple):
    """How a run went. `asked_twice`: answers that came after another replica's."""

    seconds: float
    answers: int
    errors: int
    lost: int
    asked_twice: int


@dataclass(eq=False)
class _Replica:
    name: str
    dies_at: float
    queue: list[Shard] = field(default_factory=list[Shard])
    current: Shard | None = None


class Simulation:
    """One run: `questions` on so many replicas."""

    def __init__(self, questions: int, replicas: int, service: Service, seed: int = 0) -> None:
        self._service = service
        self._drawn = random.Random(seed)
        # Without pictures or shots: what is shared is another question, see `scale_out.py`.
        prompt = fl.Prompt.raw("question")
        self._schedule = Schedule([fl.Request(str(number), prompt) for number in range(questions)], replicas)
        self._now = self._driver_free = 0.0
        self._events: list[tuple[float, int, str, object]] = []
        self._numbers = itertools.count()
        self._names = (f"replica {number}" for number in itertools.count())
        self._replicas: dict[str, _Replica] = {}
        self._answers = self._errors = self._lost = self._heard = 0
        for _ in range(replicas):
            self._join()

    def run(self) -> Ended:
        """Let time pass until every question has its answer."""
        self._hand_out()
        while not self._schedule.done:
            self._now, _, kind, about = heapq.heappop(self._events)
            getattr(self, f"_{kind}")(about)
            self._hand_out()
        asked_twice = self._heard - (self._answers - self._errors)
        return Ended(max(self._now, self._driver_free), self._answers, self._errors, self._lost, asked_twice)

    def _at(self, time: float, kind: str, about: object) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), kind, about))

    def _join(self, about: object = None) -> None:
        rate = 1 / self._service.lifetime_seconds
        replica = _Replica(next(self._names), self._now + (self._drawn.expovariate(rate) if rate else float("inf")))
        self._replicas[replica.name] = replica
        if rate:
            self._at(replica.dies_at + self._service.noticed_seconds, "missed", replica)

    def _missed(self, replica: _Replica) -> None:
        """A loss is noticed: others get what was left, and a new replica is loaded."""
        self._lost += 1
        del self._replicas[replica.name]
        self._count(self._schedule.lost(replica.name, "lost"))
        self._at(self._now + self._service.load_seconds, "join", None)

    def _hand_out(self) -> None:
        """The driver gives every replica what it can take. The dead ones get something too, until they are missed."""
        for replica in list(self._replicas.values()):
            while shard := self._schedule.next(replica.name):
                replica.queue.append(shard)
                if replica.current is None:
                    self._begin(replica)
        for shard in self._schedule.withdrawn():
            holder = self._replicas[shard.replica]
            if shard in holder.queue and self._is_alive(holder):
                holder.queue.remove(shard)
                self._count(self._schedule.ended(shard))

    def _begin(self, replica: _Replica) -> None:
        """The next shard of a replica: its answers come in batches, unless it dies before."""
        if not replica.queue:
            replica.current = None
            return
        shard = replica.current = replica.queue.pop(0)
        time = told_at = max(self._now, self._driver_free) + self._service.shard_seconds
        together: list[fl.Answer] = []
        mean = -(self._service.spread**2) / 2  # so that the mean is one
        for id in list(shard.left):
            time += self._service.question_seconds * self._drawn.lognormvariate(mean, self._service.spread)
            together.append(fl.Answer(id))
            if len(together) == TOGETHER or time - told_at > TOGETHER_SECONDS:
                self._at(time, "told", (replica, shard, together))
                together, told_at = [], time
        self._at(time, "told", (replica, shard, together))
        self._at(time, "done", (replica, shard))

    def _is_alive(self, replica: _Replica) -> bool:
        return self._now < replica.dies_at and replica.name in self._replicas

    def _told(self, about: tuple[_Replica, Shard, Sequence[fl.Answer]]) -> None:
        replica, shard, answers = about
        if self._is_alive(replica):
            self._driver_free = max(self._now, self._driver_free) + len(answers) * self._service.driver_seconds
            self._heard += len(answers)
            self._count(self._schedule.answered(shard, answers))

    def _done(self, about: tuple[_Replica, Shard]) -> None:
        replica, shard = about
        if self._is_alive(replica):
            self._count(self._schedule.ended(shard))
            self._begin(replica)

    def _count(self, answers: Iterator[fl.Answer]) -> None:
        for answer in answers:
            self._answers += 1
            self._errors += answer.error is not None
