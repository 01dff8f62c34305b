"""One replica: a model in a process of its own, somewhere in the cluster, which answers shards."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import flamingo_lab
from flamingo_lab.errors import BadImage, BadNode, BadSetting, LabError, LostRank
from flamingo_lab.model import Answer, Counts, Embeds, Holds, Keeps, Limits, Model, Request, Sent, Session
from flamingo_lab.parallel.launched import LOCALHOST, Place, stand_alone
from flamingo_lab.prompt import Image
from flamingo_lab.replicas.cluster import here, meeting_place, node_id

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COMPARED = ("torch", "flamingo-lab")
"""Packages whose versions have to be the same everywhere; the weights' digest covers what else decides an answer."""

TOGETHER = 256
TOGETHER_SECONDS = 0.5
"""Answers travel in batches: so many, or what has come within this time."""

SEEN = 2**16
"""Pictures in files that are remembered to be the driver's."""


class Seat(NamedTuple):
    """Where a process of a replica is, and with which `COMPARED` versions.

    node: in words; host, port: the node's address, and a port that is free there; pid: of the process.
    """

    node_id: str
    node: str
    host: str
    port: int
    pid: int
    versions: Mapping[str, str]


class Facts(NamedTuple):
    """What a replica says of itself once its model is loaded. `node`: where it is, in words."""

    name: str
    digest: str
    limits: Limits
    about: Mapping[str, Any]
    node: str


class Batch(NamedTuple):
    """Answers as they travel, with all that the replica has counted up to then, and the most memory that it has held."""

    answers: Sequence[Answer]
    counters: Mapping[str, float]
    stages: Mapping[str, float]
    peak_bytes: int


class Replica:
    """What runs as an actor: a replica, or one of the processes that share its weights, of which the first one is asked.

    `folder` is where the driver stands, so that relative paths lead to the same files. `answers` and `load` are called by
    one thread, the others meanwhile by another.
    """

    def __init__(self, build: Callable[[], Model], folder: str) -> None:
        self._build = build
        self._folder = folder
        self._node = here()
        self._model: Model | None = None
        self._session: Session | None = None
        self._stopped: set[int] = set()
        self._seen: set[tuple[str, str]] = set()

    def seat(self) -> Seat:
        """Where it is."""
        return Seat(node_id(), self._node, *meeting_place(), os.getpid(), versions())

    def load(self, rank: int, *seats: Seat) -> Facts:
        """Load the model, of which this is one of several processes or the only one; another than the first never returns.

        Raises `BadNode` with the node's name where it cannot be loaded, `LostRank` where one was lost.
        """
        if Path(self._folder).is_dir():
            os.chdir(self._folder)
        stand_alone()
        if len(seats) > 1:
            os.environ.update(place_of(rank, seats).variables)
        try:
            model = self._model = self._build()
            digest = model.digest
        except LostRank:
            raise
        except LabError as error:
            raise BadNode(f"node {self._node}: {error}") from None
        if rank:
            raise LostRank(f"rank {rank} has nobody to follow")
        return Facts(model.name, digest, model.limits, dict(model.about), self._node)

    def answers(self, number: int, requests: Sequence[Request]) -> Iterator[Batch]:
        """The answers to a shard. Raises `BadNode` where this node has other pictures than the driver."""
        if number in self._stopped:
            self._stopped.discard(number)
            return
        self._look_at(requests)
        together: list[Answer] = []
        sent_at = time.monotonic()
        for answer in self._ask(requests):
            together.append(answer)
            if number in self._stopped:
                self._stopped.discard(number)
                self._end_session()
                break
            if len(together) == TOGETHER or time.monotonic() - sent_at > TOGETHER_SECONDS:
                yield self._batch(together)
                together, sent_at = [], time.monotonic()
        yield self._batch(together)

    def look(self, requests: Iterable[Request]) -> None:
        """Look at the pictures of a shard while the one before it is answered; what is wrong is told when it is asked."""
        with suppress(BadNode):
            self._look_at(requests)

    def stop(self, numbers: Iterable[int]) -> None:
        """Do not begin these shards, and end the one that is being answered."""
        self._stopped.update(numbers)

    def sent(self, request: Request) -> Sent:
        """See `Model`."""
        return self._loaded.sent(request)

    def embeds_digest(self) -> str:
        """See `Embeds`."""
        return self._embeds.embeds_digest()

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """See `Embeds`."""
        return self._embeds.embed(images)

    def _ask(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """Answers, with what earlier shards have computed where the model can keep it."""
        if self._session is None and isinstance(self._loaded, Keeps):
            self._session = self._loaded.session()
        return (self._session or self._loaded).answers(requests)

    def _end_session(self) -> None:
        """A session that was not asked to its end cannot go on."""
        if self._session is not None:
            self._session.close()
            self._session = None

    @property
    def _loaded(self) -> Model:
        if self._model is None:
            raise BadSetting("a replica is asked before it has loaded its model")
        return self._model

    @property
    def _embeds(self) -> Embeds:
        if not isinstance(self._loaded, Embeds):
            raise BadSetting(
                f"{self._loaded.name} does not show what its vision tower makes of a picture, so similar ones cannot be found"
            )
        return self._loaded

    def _batch(self, answers: Sequence[Answer]) -> Batch:
        model = self._model
        counted = (model.counters(), model.stages()) if isinstance(model, Counts) else ({}, {})
        return Batch(answers, *counted, model.peak_bytes() if isinstance(model, Holds) else 0)

    def _look_at(self, requests: Iterable[Request]) -> None:
        """Prove that the pictures are those that the driver saw."""
        images = [image for request in requests for image in request.prompt.images if image.is_digested]
        with ThreadPoolExecutor() as pool:
            for difference in pool.map(self._difference, images):
                if difference:
                    raise BadNode(f"node {self._node}: {difference}")

    def _difference(self, image: Image) -> str:
        """What is wrong here with a picture that the driver could read; empty where nothing is."""
        file = (str(image.source), image.digest) if isinstance(image.source, str | os.PathLike) else None
        if file in self._seen:
            return ""
        try:
            if not image.is_same():
                return f"{image.name} is another picture than on the driver's machine"
        except BadImage as error:
            return str(error)
        if file is not None:
            if len(self._seen) == SEEN:
                self._seen.clear()
            self._seen.add(file)
        return ""


def place_of(rank: int, seats: Sequence[Seat]) -> Place:
    """The place of one of the processes that share a replica's weights; the first one listens at its own seat."""
    here = [other for other, seat in enumerate(seats) if seat.node_id == seats[rank].node_id]
    host = LOCALHOST if len(here) == len(seats) else seats[0].host
    return Place(rank, len(seats), here.index(rank), len(here), host, seats[0].port)


def load_beside(count: int, path: str | None, **options: Any) -> Model:
    """The model as `load` gives it. On a CPU it shares the node's free memory with the others of up to `count` processes."""
    import torch

    from flamingo_lab import backends, load
    from flamingo_lab.engine.budget import FREE_SHARE, GIB, free_bytes
    from flamingo_lab.placement.devices import is_on_cpu

    if count > 1 and options["memory"] is None and backends.find(str(path)) is None and is_on_cpu(options["device"]):
        options["memory"] = FREE_SHARE * free_bytes(torch.device("cpu")) / count / GIB
    return load(path, **options)


def versions() -> dict[str, str]:
    """The versions that have to agree; of this package with a digest of its code, which may differ between working copies."""
    held: dict[str, str] = {}
    for name in COMPARED:
        try:
            held[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            held[name] = "none"
    code = hashlib.sha256()
    for file in sorted(Path(flamingo_lab.__file__).parent.rglob("*.py")):
        code.update(file.read_bytes())
    held["flamingo-lab"] += f"+{code.hexdigest()[:8]}"
    return held
