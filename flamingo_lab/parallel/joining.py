"""How the processes of a model come together: those that torchrun or Slurm started, or children of this one."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import IO
from weakref import WeakSet

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, Store, TCPStore  # pyright: ignore[reportPrivateImportUsage] - documented all the same

from flamingo_lab import host
from flamingo_lab.errors import BadSetting, LostRank
from flamingo_lab.parallel import patience
from flamingo_lab.parallel.launched import AGENT, ATTEMPT, LOCALHOST, Place, launched
from flamingo_lab.parallel.ranks import Ranks

END_SECONDS = 10.0
"""For a child to end by itself."""


class Follower:
    """A child of this process that is one of the model's ranks. What it says on stderr is kept for its last words."""

    def __init__(self, place: Place, asked: object) -> None:
        self.rank = place.rank
        self._words: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this object
        variables = {
            **place.variables,
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        environ = {name: value for name, value in os.environ.items() if name != AGENT}
        # In a session of its own, so that Ctrl-C reaches this process alone, which ends the others.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "flamingo_lab.parallel.follower"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._words,
            env=environ | variables,
            start_new_session=True,
        )
        assert self._process.stdin is not None
        try:
            with self._process.stdin as stream:
                pickle.dump(asked, stream)
        except BrokenPipeError:  # it has ended already; `why` says so
            pass

    def why(self) -> str | None:
        """See `Child`. The last line that it said, where it was not killed."""
        code = self._process.poll()
        if code is None:
            return None
        if code < 0:
            return f"rank {self.rank} was killed by {signal.Signals(-code).name}"
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        return f"rank {self.rank} ended: {lines[-1] if lines else f'exit code {code}'}"

    def end(self) -> None:
        """See `Child`."""
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """See `Child`."""
        self._process.kill()
        self._process.wait()


def alone(wanted: int) -> Place:
    """The place of a process that starts the others itself."""
    return Place(0, wanted, 0, wanted, LOCALHOST, 0)


_met: WeakSet[Ranks] = WeakSet()
"""The ranks of all models that this process has loaded."""


def join(wanted: int, device: torch.device, asked: object) -> Ranks:
    """The ranks together, the others started first where this process stands alone. asked: what these are told.

    Raises `BadSetting` where another model's ranks are still together, `LostRank` where one does not come.
    """
    place = launched() or alone(wanted)
    is_alone = launched() is None
    if any(not ranks.is_over for ranks in _met) or (is_alone and dist.is_initialized()):
        raise BadSetting(
            "another model of this process is split over several; let go of it before the next one is loaded"
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if is_alone and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, host.cores() // place.ranks))
    children: list[Follower] = []
    try:
        if not dist.is_initialized():
            _meet(place, device, children, asked, is_alone=is_alone)
        ranks = Ranks(children, owns=is_alone)
    except BaseException:
        for child in children:
            child.kill()
        raise
    _met.add(ranks)
    return ranks


def _meet(place: Place, device: torch.device, children: list[Follower], asked: object, *, is_alone: bool) -> None:
    """Make the process group. asked: what `children` are told that are started into it, where this process is alone."""
    # One backend for tensors on the device, one for what the processes say.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    limit = patience.patience(place.rank)
    try:
        store = _store(place)
        if is_alone:
            for rank in range(1, place.ranks):
                here = Place(rank, place.ranks, rank, place.ranks, place.host, store.port)
                children.append(Follower(here, asked))
        met = _of_this_attempt(store)
        met.set(f"here/{place.rank}", "")
        _wait(met, place.ranks, children)
        patience.part_at_the_end()
        dist.init_process_group(backend, store=met, rank=place.rank, world_size=place.ranks, timeout=limit)
    except RuntimeError as error:
        raise LostRank(f"rank {place.rank} did not find the others ({str(error).splitlines()[0]})") from None


def _store(place: Place) -> TCPStore:
    """Where the ranks find each other: with torchrun, or else with rank 0."""
    holds_it = place.rank == 0 and os.environ.get(AGENT) != "True"
    return TCPStore(place.host, place.port, place.ranks, holds_it, patience.MEETING, wait_for_workers=False)


def _of_this_attempt(store: TCPStore) -> Store:
    return PrefixStore(f"flamingo-lab/{os.environ.get(ATTEMPT, '0')}", store)


def _wait(store: Store, ranks: int, children: Sequence[Follower]) -> None:
    """Until all ranks are here."""
    seconds = patience.MEETING.total_seconds()
    until = time.monotonic() + seconds
    missing = list(range(ranks))
    while missing := [rank for rank in missing if not store.check([f"here/{rank}"])]:
        if why := next((why for child in children if (why := child.why())), None):
            raise LostRank(f"{why}; nothing was asked")
        if time.monotonic() > until:
            raise LostRank(f"ranks {', '.join(map(str, missing))} did not come within {seconds:.0f} s")
        time.sleep(0.02)
