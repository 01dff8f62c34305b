"""Which replica is asked what, and what happens to it when that replica is lost.

Knows no clock, no network and no model. Ray drives it (`driver.py`), and so does a simulation (`benchmarks/scale_out.py`).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from flamingo_lab.errors import BadPrompt
from flamingo_lab.model import Answer, Failure, Request
from flamingo_lab.replicas.beginnings import Beginnings

IN_FLIGHT = 2
"""Shards that a replica has at once: one is answered while the next one travels."""

LEAST, MOST = 32, 1024
"""Requests in a shard. Larger ones share more and fill batches, smaller ones end together."""

SHARE = 2
"""A shard is this part of what would be a replica's share of the rest, so that the last ones are the smallest."""

PARTS = 16
"""Into how many shards the rest of one is broken that a replica was lost over, until the request to blame is alone."""

LOSSES = 3
"""Replicas that may be lost over a request before it is given up."""


@dataclass(eq=False)
class Shard:
    """Requests that one replica is asked together. `left` are those without an answer by their ids.

    `twins`: shards of other replicas that were asked some of the same. `is_withdrawn`: it need not be begun any more.
    """

    replica: str
    left: dict[str, Request]
    twins: list[Shard] = field(default_factory=list["Shard"])
    is_withdrawn: bool = False


class Schedule:
    """Hands out a stream of requests. The first answer to each counts, whoever gives it."""

    def __init__(self, requests: Iterable[Request], replicas: int) -> None:
        self._replicas = replicas
        self._beginnings = Beginnings(requests)
        self._again: deque[Sequence[Request]] = deque()
        self._flight: dict[str, list[Shard]] = {}
        self._unanswered: set[str] = set()
        self._losses: Counter[str] = Counter()
        self._withdrawn: list[Shard] = []
        self._is_taken = False
        self._nothing_to_take = False

    @property
    def done(self) -> bool:
        """Whether every request has its answer."""
        return self._is_taken and not self._unanswered

    def next(self, replica: str) -> Shard | None:
        """What this replica is to be asked now, None for nothing. One with nothing to do takes over from the others."""
        mine = self._flight.setdefault(replica, [])
        if len(mine) == IN_FLIGHT:
            return None
        if self._again:
            return self._hand(replica, self._again.popleft())
        if not self._is_taken and (requests := self._fresh()):
            return self._hand(replica, requests)
        return None if mine or self._nothing_to_take else self._take_over(replica)

    def answered(self, shard: Shard, answers: Iterable[Answer]) -> Iterator[Answer]:
        """Those of the answers that are the first ones."""
        for answer in answers:
            for one in (shard, *shard.twins):
                one.left.pop(answer.id, None)
            if answer.id in self._unanswered:
                self._unanswered.discard(answer.id)
                self._losses.pop(answer.id, None)
                yield answer

    def ended(self, shard: Shard) -> Iterator[Answer]:
        """A replica has no more answers for the shard. Requests that it left out are asked again; see `lost`."""
        self._flight[shard.replica].remove(shard)
        why = f"{shard.replica} ended without an answer"
        yield from self._asked_again(shard, why, is_blamed=not shard.is_withdrawn)

    def lost(self, replica: str, why: str, *, is_blamed: bool = True) -> Iterator[Answer]:
        """The replica is gone; what it had not answered is asked again.

        An error for each request that too many replicas were lost over. Only the shard that was being answered is blamed,
        and none where the reason is known to be another.
        """
        shards = self._flight.pop(replica, [])
        for place, shard in enumerate(shards):
            yield from self._asked_again(shard, why, is_blamed=is_blamed and place == 0)

    def withdrawn(self) -> list[Shard]:
        """Shards that others have taken over since the last call, and that their replicas need not begin."""
        found, self._withdrawn = self._withdrawn, []
        return found

    def in_flight(self) -> list[Shard]:
        """What replicas have that is not ended."""
        return [shard for shards in self._flight.values() for shard in shards]

    def _fresh(self) -> Sequence[Request]:
        left = self._beginnings.left
        size = MOST if left is None else max(LEAST, min(MOST, int(left / (SHARE * self._replicas))))
        found = self._beginnings.take(size)
        self._is_taken = not found
        for one in found:
            if one.id in self._unanswered:
                raise BadPrompt(f"two requests have the id {one.id!r}; each needs its own")
            self._unanswered.add(one.id)
        return found

    def _hand(self, replica: str, requests: Iterable[Request]) -> Shard:
        shard = Shard(replica, {one.id: one for one in requests})
        self._flight[replica].append(shard)
        return shard

    def _take_over(self, replica: str) -> Shard | None:
        """A shard that waits behind another one whole, else the end of the longest that is being answered."""
        found: tuple[bool, int] = (False, 0)
        chosen: tuple[Shard, list[Request]] | None = None
        for shards in self._flight.values():
            for place, shard in enumerate(shards):
                requests = [] if shard.is_withdrawn else self._alone(shard)
                waits = place > 0
                if requests and (waits, len(requests)) > found:
                    found = waits, len(requests)
                    chosen = shard, requests if waits else requests[-self._part(len(requests)) :]
        if chosen is None:
            self._nothing_to_take = True  # until shards end or are lost
            return None
        shard, requests = chosen
        if found[0]:
            shard.is_withdrawn = True
            self._withdrawn.append(shard)
        twin = self._hand(replica, requests)
        twin.twins, shard.twins = [shard], [*shard.twins, twin]
        return twin

    def _part(self, count: int) -> int:
        """How many of so many requests another replica takes over: half of them where it is the only one that could."""
        return min(-(-count // 2), max(LEAST, count // self._replicas))

    def _alone(self, shard: Shard) -> list[Request]:
        """Unanswered requests that no other shard has which will be answered."""
        others = [twin.left for twin in shard.twins if not twin.is_withdrawn]
        return [
            one for id, one in shard.left.items() if id in self._unanswered and not any(id in left for left in others)
        ]

    def _asked_again(self, shard: Shard, why: str, *, is_blamed: bool) -> Iterator[Answer]:
        """Queue what only this shard had, in parts where it is to blame for a loss."""
        self._nothing_to_take = False
        requests = self._alone(shard)
        for twin in shard.twins:
            twin.twins.remove(shard)
        if not requests:
            return
        if not is_blamed:
            self._again.append(requests)
            return
        self._losses.update(one.id for one in requests)
        if len(requests) == 1 and self._losses[requests[0].id] >= LOSSES:
            (request,) = requests
            self._unanswered.discard(request.id)
            times = self._losses.pop(request.id)
            message = f"{times} replicas were lost over this question; the last one: {why}"
            yield Answer(request.id, error=Failure("ReplicaLost", message), stopped_by="error")
            return
        size = -(-len(requests) // PARTS)
        self._again.extend(requests[start : start + size] for start in range(0, len(requests), size))
