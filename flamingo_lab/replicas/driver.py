"""The `Model` that many replicas are together. Answers are as one of them would give them; only the times differ."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from flamingo_lab.asking import Asking
from flamingo_lab.errors import BadCluster, BadNode, LostRank
from flamingo_lab.model import Answer, Limits, Model, Request, Sent
from flamingo_lab.notes import note
from flamingo_lab.prompt import Image
from flamingo_lab.replicas import cluster
from flamingo_lab.replicas.fleet import ASK, TALK, Fleet, Member, cause_of, is_loss, said
from flamingo_lab.replicas.replica import Batch, Facts
from flamingo_lab.replicas.schedule import Schedule, Shard

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

POLL_SECONDS = 1.0
"""How long answers are waited for before the nodes are looked at again."""


class Asked(NamedTuple):
    """A shard on its way, under a number that no other one has."""

    number: int
    member: Member
    shard: Shard


def start(
    build: Callable[[int], Callable[[], Model]],
    address: str,
    *,
    replicas: int | None = None,
    devices: int | None = None,
    device: str = "auto",
    ranks: int = 1,
    say: Callable[[str], None] = lambda line: None,
) -> Replicas:
    """A model on a cluster, loaded on its nodes. Raises `LabError` kinds.

    build: from the number of replicas that a node may hold to what loads one of them there; it is pickled. `say` hears how
    they are laid out before they are loaded, and on what they run then. See `cluster.shape` for the rest.
    """
    dashboard = cluster.connect(address)
    there = cluster.nodes()
    laid = cluster.shape(there, replicas, devices, device, ranks)
    fleet = Fleet(build(laid.beside), laid, grows=replicas is None)
    counted = cluster.counted
    line = f"{counted(laid.replicas, 'replica')} with {laid.each} each on {counted(len(there), 'node')}"
    say(f"{line} · {dashboard}" if dashboard else line)
    facts = fleet.start()
    ways = Counter(runs_on(one.facts.about) for one in fleet.ready if one.facts and "dtype" in one.facts.about)
    if ways:
        say("; ".join(f"{counted(count, 'replica')} on {way}" for way, count in ways.items()))
    return Replicas(fleet, facts)


def runs_on(about: Mapping[str, Any]) -> str:
    """What a replica computes on, and in what form its weights are."""
    form = " + ".join(about[name] for name in ("quantisation", "dtype") if name in about)
    return f"{about['device']} in {form}"


class Replicas(Asking):
    """Replicas as one model. What needs no answer is asked of any of them, so the driver needs no weights."""

    def __init__(self, fleet: Fleet, facts: Facts) -> None:
        self._fleet = fleet
        self._facts = facts
        self._ray = cluster.package()
        self._numbers = itertools.count()
        self._gone: list[Member] = []

    @property
    def name(self) -> str:
        """See `Model`."""
        return self._facts.name

    @property
    def digest(self) -> str:
        """See `Model`: that of each replica."""
        return self._facts.digest

    @property
    def limits(self) -> Limits:
        """See `Model`."""
        return self._facts.limits

    @property
    def about(self) -> Mapping[str, Any]:
        """See `Model`; with the number of replicas."""
        return {**self._facts.about, "replicas": self._fleet.wanted}

    @property
    def state(self) -> str:
        """How many replicas answer now, in words."""
        there, wanted = len(self._fleet.ready), self._fleet.wanted
        whole = cluster.counted(wanted, "replica")
        return whole if there == wanted else f"{there} of {whole}"

    def counters(self) -> Mapping[str, float]:
        """See `Counts`: of all replicas together, as far as they have told."""
        total: Counter[str] = Counter()
        for member in self._all:
            total.update(dict(member.counters))
        return dict(total)

    def stages(self) -> Mapping[str, float]:
        """See `Counts`: of each replica."""
        return {f"{one.place}: {name}": spent for one in self._all for name, spent in one.stages.items()}

    def peak_bytes(self) -> int:
        """See `Holds`: of the replica that held most."""
        return max((one.peak_bytes for one in self._all), default=0)

    def sent(self, request: Request) -> Sent:
        """See `Model`."""
        return self._told("sent", request)

    def embeds_digest(self) -> str:
        """See `Embeds`."""
        return self._told("embeds_digest")

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """See `Embeds`."""
        return self._told("embed", images)

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `Model`. A replica that is lost costs the answers that it had not given; others give them."""
        schedule = Schedule(requests, self._fleet.wanted)
        flight: dict[Any, Asked] = {}
        try:
            while True:
                self._hand_out(schedule, flight)
                if schedule.done:
                    return
                ready, _ = self._ray.wait([*flight, *self._fleet.awaited], timeout=POLL_SECONDS)
                for promise in ready:
                    if promise in flight:
                        yield from self._hear(schedule, flight, promise)
                    elif heard := self._fleet.awaited.get(promise):
                        yield from self._hear_of(schedule, flight, *heard)
                self._fleet.mend()
        finally:
            self._stop(flight.values())

    def close(self) -> None:
        """End the replicas. The end of the process does it too."""
        self._fleet.close()

    @property
    def _all(self) -> list[Member]:
        return [*self._gone, *self._fleet.ready]

    def _hand_out(self, schedule: Schedule, flight: dict[Any, Asked]) -> None:
        """Give every replica as much as it can take."""
        for member in self._fleet.ready:
            while shard := schedule.next(member.name):
                number = next(self._numbers)
                requests = self._ray.put(list(shard.left.values()))
                member.actor.look.options(concurrency_group=TALK).remote(requests)
                call = member.actor.answers.options(num_returns="streaming", concurrency_group=ASK)
                flight[call.remote(number, requests)] = Asked(number, member, shard)
        withdrawn = set(schedule.withdrawn())
        self._stop(asked for asked in flight.values() if asked.shard in withdrawn)

    def _hear(self, schedule: Schedule, flight: dict[Any, Asked], stream: Any) -> Iterator[Answer]:
        """The next answers of a stream; at its end, or where the replica is lost, those of requests that are given up."""
        asked = flight.pop(stream)
        member, shard = asked.member, asked.shard
        try:
            batch: Batch = self._ray.get(next(stream))
        except StopIteration:
            yield from schedule.ended(shard)
        except self._ray.exceptions.RayError as error:
            yield from self._lose(schedule, flight, member, error)
        else:
            flight[stream] = asked  # behind the others, so that each is heard in turn
            member.counters, member.stages, member.peak_bytes = batch.counters, batch.stages, batch.peak_bytes
            yield from schedule.answered(shard, batch.answers)

    def _hear_of(self, schedule: Schedule, flight: dict[Any, Asked], member: Member, rank: int) -> Iterator[Answer]:
        """What one process of a replica has to say: that it is loaded, or of a ready one that this process is gone."""
        if member.facts is None:
            self._fleet.join(member, rank)
            return
        try:
            self._ray.get(member.loading[rank])
        except self._ray.exceptions.RayError as error:
            yield from self._lose(schedule, flight, member, error)

    def _lose(self, schedule: Schedule, flight: dict[Any, Asked], member: Member, error: Exception) -> Iterator[Answer]:
        """Let go of a replica that is lost by an error, which is raised where it is no such. Answers as `_hear` does."""
        is_nodes = isinstance(cause := cause_of(error), BadNode)
        if not is_nodes and not is_loss(cause):
            raise cause from None
        note(f"{member.place} is lost, and others answer its questions: {said(error)}")
        for other in [one for one, asked in flight.items() if asked.member is member]:
            del flight[other]
        self._gone.append(member)
        let_go = self._fleet.refuse if is_nodes else self._fleet.lost
        let_go(member, said(error))
        yield from schedule.lost(member.name, said(error), is_blamed=not is_nodes)

    def _stop(self, flight: Iterable[Asked]) -> None:
        """Tell replicas that answers to these shards are not needed any more."""
        for asked in flight:
            asked.member.actor.stop.options(concurrency_group=TALK).remote([asked.number])

    def _told(self, method: str, *given: Any) -> Any:
        """What any replica says to this. Raises `BadCluster` where none is left that could."""
        for member in self._fleet.ready:
            try:
                return self._ray.get(getattr(member.actor, method).options(concurrency_group=TALK).remote(*given))
            except self._ray.exceptions.RayError as error:
                is_raised = isinstance(error, self._ray.exceptions.RayTaskError)
                if is_raised and not isinstance(cause := cause_of(error), LostRank):
                    raise cause from None
                note(f"{member.place} does not answer: {said(error)}")
        raise BadCluster("no replica answers any more; the same command goes on, once the cluster is mended")
