"""The replicas that there are: started, compared with each other, replaced when they are lost, more where nodes join."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flamingo_lab.errors import BadCluster, BadNode, LabError, LostRank
from flamingo_lab.model import Model
from flamingo_lab.notes import note
from flamingo_lab.replicas.cluster import NODE_LABEL, Shape, nodes, package
from flamingo_lab.replicas.replica import Facts, Replica, versions

ASK, TALK = "ask", "talk"
"""The threads of a replica: one computes, the other one listens meanwhile."""

PATIENCE_SECONDS = 600.0
"""How long there may be no room for any replica before a run ends. A node that is being started takes minutes."""

GRACE_SECONDS = 30.0
"""How much longer than for the first replica the others are waited for before a run begins without them."""

LIVES = 3
"""Replicas that may be lost one after the other while they load."""

PAUSE_SECONDS = 300.0
"""How long no other one is started after that, where some replicas answer."""

MEND_SECONDS = 5.0
"""How often the nodes are looked at."""


@dataclass(eq=False)
class Member:
    """A replica: an actor for each of its processes, of which the first is asked, in a placement `group` of their own.

    `seats`: the promises of where they are. `loading`: that of its facts, which are there once it is ready, and of the other
    processes those of their end. `counters`, `stages` and `peak_bytes`: what it last told of what it did and held.
    """

    name: str
    group: Any
    actors: Sequence[Any]
    seats: Sequence[Any]
    loading: Sequence[Any]
    facts: Facts | None = None
    counters: Mapping[str, float] = field(default_factory=dict[str, float])
    stages: Mapping[str, float] = field(default_factory=dict[str, float])
    peak_bytes: int = 0

    @property
    def actor(self) -> Any:
        """The process that is asked."""
        return self.actors[0]

    @property
    def place(self) -> str:
        """The replica and its node, in words."""
        return f"{self.name} on {self.facts.node}" if self.facts else self.name


class Fleet:
    """Replicas of one model. `grows`: as many as the nodes have room for, also those that join later."""

    def __init__(self, build: Callable[[], Model], laid: Shape, *, grows: bool) -> None:
        ray = package()
        each = {"num_cpus": laid.cores_of_process, "num_gpus": laid.gpus_of_process, "max_restarts": 0}
        self._remote = ray.remote(concurrency_groups={ASK: 1, TALK: 1}, **each)(Replica)
        self._ray, self._build, self._laid, self._grows = ray, build, laid, grows
        self._names = (f"replica {number}" for number in itertools.count())
        self._own_versions = versions()
        self._members: list[Member] = []
        self._refused: set[str] = set()
        self._failures, self._paused_until = 0, 0.0
        self._why = ""
        self._looked_at = self._seen_at = time.monotonic()
        self.wanted = laid.replicas
        self.agreed: Facts | None = None

    @property
    def ready(self) -> list[Member]:
        """Replicas that can be asked."""
        return [member for member in self._members if member.facts is not None]

    @property
    def is_loading(self) -> bool:
        """Whether replicas are on their way."""
        return any(member.facts is None for member in self._members)

    @property
    def awaited(self) -> dict[Any, tuple[Member, int]]:
        """Promises of replicas on their way, and of ready ones that of the end of another process than the first.

        With each promise the replica, and which of its processes gave it.
        """
        return {
            promise: (member, rank)
            for member in self._members
            for rank, promise in enumerate(member.loading)
            if rank or member.facts is None
        }

    def start(self) -> Facts:
        """Load the replicas, and what all of them say of themselves. Raises `BadNode` for one that differs, `BadCluster`."""
        try:
            self._load()
            return self._agree()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let all replicas go."""
        for member in self._members:
            self._end(member)
        self._members = []

    def _load(self) -> None:
        """Wait until the replicas are ready, for the last ones not much longer than for the first."""
        began = time.monotonic()
        first_after = 0.0
        self._fill()
        while self.is_loading:
            elapsed = time.monotonic() - began
            if self.ready and elapsed > 2 * first_after + GRACE_SECONDS:
                break
            self._be_patient()
            for promise in self._ray.wait(list(self.awaited), timeout=1.0)[0]:
                if promise in (awaited := self.awaited):
                    self._hear(*awaited[promise])
                    first_after = first_after or time.monotonic() - began
            self._fill()

    def join(self, member: Member, rank: int) -> None:
        """Take in a replica of which one process has something to say during a run; one that differs is refused, and told."""
        try:
            self._hear(member, rank)
            differs = next(self._differences(member), None)
        except BadNode as error:
            differs = rank, str(error)
        if differs is not None:
            rank, why = differs
            note(f"{why}; the run goes on without it")
            self.refuse(member, why, rank)

    def lost(self, member: Member, why: str) -> None:
        """Let a replica go; another one takes its place, here or elsewhere."""
        self._why = why
        self._members.remove(member)
        self._end(member)

    def refuse(self, member: Member, why: str, rank: int = 0) -> None:
        """Let a replica go of which one process's node is to blame: none is started there any more."""
        with suppress(self._ray.exceptions.RayError):
            self._refused.add(self._ray.get(member.seats[rank]).node_id)
        self.lost(member, why)
        self.wanted = self._room()

    def mend(self) -> None:
        """Replace what is lost, and use nodes that have joined. Raises `BadCluster` where nothing can work any more."""
        now = time.monotonic()
        if now - self._looked_at > MEND_SECONDS:
            self._looked_at = now
            if self._grows or self._refused:
                self.wanted = self._room()
        self._fill()
        self._be_patient()

    def _room(self) -> int:
        """How many replicas there shall be: as many as have room, or as were asked for, on nodes that are not refused."""
        there = nodes()
        room = self._laid.fits([node for node in there if node.id not in self._refused])
        if not room:  # others may come where none is there; where all are refused, that is the end
            return 0 if self._laid.fits(there) else 1
        return room if self._grows else min(room, self._laid.replicas)

    def _fill(self) -> None:
        while len(self._members) < self.wanted and not self._is_paused:
            self._members.append(self._begin())

    def _begin(self) -> Member:
        """A replica on its way. Its processes start once there is room for all of them."""
        laid, util = self._laid, self._ray.util
        bundle = {"CPU": laid.cores_of_process} | ({"GPU": laid.gpus_of_process} if laid.gpus else {})
        elsewhere = [{NODE_LABEL: f"!in({','.join(self._refused)})"}] * laid.ranks if self._refused else None
        strategy = "PACK" if laid.is_spread else "STRICT_PACK"
        group = util.placement_group([bundle] * laid.ranks, strategy, bundle_label_selector=elsewhere)
        in_bundle = util.scheduling_strategies.PlacementGroupSchedulingStrategy
        actors = [
            self._remote.options(scheduling_strategy=in_bundle(group, rank)).remote(self._build, str(Path.cwd()))
            for rank in range(laid.ranks)
        ]
        seats = [actor.seat.options(concurrency_group=TALK).remote() for actor in actors]
        loading = [actor.load.options(concurrency_group=ASK).remote(rank, *seats) for rank, actor in enumerate(actors)]
        return Member(next(self._names), group, actors, seats, loading)

    def _end(self, member: Member) -> None:
        for actor in member.actors:
            self._ray.kill(actor)
        self._ray.util.remove_placement_group(member.group)

    @property
    def _is_paused(self) -> bool:
        return bool(self.ready) and time.monotonic() < self._paused_until

    def _be_patient(self) -> None:
        if not self._members:
            raise BadCluster(f"no replica is left ({self._why}); the same command goes on once that is mended")
        if self.ready or self._ray.wait([member.seats[0] for member in self._members], timeout=0)[0]:
            self._seen_at = time.monotonic()
        elif time.monotonic() - self._seen_at > PATIENCE_SECONDS:
            raise BadCluster(
                f"no node has had room for a replica for {PATIENCE_SECONDS:.0f} s; others may be using the cluster"
            )

    def _hear(self, member: Member, rank: int) -> None:
        """What a replica says once it has loaded. Raises `BadNode` for what a node lacks, `BadCluster` if none can."""
        try:
            member.facts = self._ray.get(member.loading[rank])
            self._failures = 0
        except self._ray.exceptions.RayError as error:
            if not is_loss(cause := cause_of(error)):
                raise cause from None
            self._failures += 1
            self.lost(member, said(error))
            told = f"{self._failures} replicas in a row were lost while they loaded; the last one: {said(error)}"
            if self._failures >= LIVES:
                if not self.ready:
                    raise BadCluster(told) from None
                self._paused_until = time.monotonic() + PAUSE_SECONDS
            note(told)

    def _agree(self) -> Facts:
        """What most replicas hold; the first that differs is refused."""
        digests = Counter(facts.digest for facts in self._facts())
        most = digests.most_common(1)[0][0]
        self.agreed = next(facts for facts in self._facts() if facts.digest == most)
        for member in self.ready:
            for _, why in self._differences(member):
                raise BadNode(why)
        return self.agreed

    def _facts(self) -> Iterator[Facts]:
        return (member.facts for member in self._members if member.facts is not None)

    def _differences(self, member: Member) -> Iterator[tuple[int, str]]:
        """What is different in a ready replica, with the process: other versions than the driver's, other weights than most."""
        facts, agreed = member.facts, self.agreed
        if facts is None or agreed is None:
            return
        for rank, seat in enumerate(self._ray.get(list(member.seats))):
            for name, version in self._own_versions.items():
                if seat.versions.get(name) != version:
                    yield (
                        rank,
                        f"node {seat.node} has {name} {seat.versions.get(name)}, and this machine {version}; "
                        "install the same on both, or take that node out",
                    )
        if facts.digest != agreed.digest:
            yield (
                0,
                f"node {facts.node} holds other weights or settings of {facts.name} ({facts.digest[:12]}) than node "
                f"{agreed.node} ({agreed.digest[:12]}); copy the same files to both, or take that node out",
            )


def cause_of(error: Exception) -> Exception:
    """What was raised in a replica, where that is what went wrong; the error itself otherwise."""
    return getattr(error, "cause", None) or error


def is_loss(cause: Exception) -> bool:
    """Whether a replica is gone by it, and another one may do what it did."""
    return isinstance(cause, LostRank) or not isinstance(cause, LabError)


def said(error: Exception) -> str:
    """One line about what went wrong."""
    cause = cause_of(error)
    if isinstance(cause, LabError):
        return str(cause)
    first, *more = str(cause).strip().splitlines() or ["no more is known"]
    # Of a lost actor Ray says first that it is lost, then which one it was, and then why, at length.
    reasons = [line for line in more if not line.startswith("\t")] if cause is error else []
    return f"{type(cause).__name__}: {(reasons or [first])[0].partition('. ')[0]}"
