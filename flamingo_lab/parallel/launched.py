"""Which of several processes this one is, as torchrun, Slurm or our own parent says. Needs no torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

FIRST_PORT, PORTS = 20_000, 20_000
"""Where rank 0 listens under Slurm: a port for each job's number, so that all of its ranks know it."""

LOCALHOST = "127.0.0.1"
"""Where the processes of one machine meet."""

AGENT = "TORCHELASTIC_USE_AGENT_STORE"
"""Set to True by torchrun where it holds the store of the meeting itself."""

ATTEMPT = "TORCHELASTIC_RESTART_COUNT"
"""How often torchrun has started the processes again. They may find the same store as those before them."""


STARTED = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("SLURM_STEP_NUM_TASKS", AGENT, ATTEMPT),
)
"""What says that a process is one of several, or where they meet."""


class Place(NamedTuple):
    """This process among those of a model. Rank 0 listens at host and port.

    local_rank: which of those on this machine it is; local_ranks: how many there are, as far as that is known. has_own_gpu:
    whether it was given one GPU and sees no other.
    """

    rank: int
    ranks: int
    local_rank: int
    local_ranks: int
    host: str
    port: int
    has_own_gpu: bool = False

    @property
    def variables(self) -> dict[str, str]:
        """What tells a process that this is its place."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.ranks),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_ranks),
            "MASTER_ADDR": self.host,
            "MASTER_PORT": str(self.port),
        }


def launched(environ: Mapping[str, str] = os.environ) -> Place | None:
    """This process's place where it was started as one of several, None where it stands alone.

    The variables are torchrun's, which others set too, or those of a step that `srun` started. A batch script of Slurm
    that runs without `srun` is a process of its own, whatever the job asked for.
    """
    visible = environ.get("CUDA_VISIBLE_DEVICES", "")
    has_own_gpu = bool(visible) and "," not in visible
    if "RANK" in environ and "WORLD_SIZE" in environ:
        rank = int(environ["RANK"])
        local = int(environ.get("LOCAL_RANK", rank))
        return Place(
            rank,
            int(environ["WORLD_SIZE"]),
            local,
            int(environ.get("LOCAL_WORLD_SIZE", local + 1)),
            environ.get("MASTER_ADDR", LOCALHOST),
            int(environ.get("MASTER_PORT", "29500")),
            has_own_gpu,
        )
    if int(environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        port = FIRST_PORT + int(environ.get("SLURM_JOB_ID", "0")) % PORTS
        return Place(
            int(environ["SLURM_PROCID"]),
            int(environ["SLURM_STEP_NUM_TASKS"]),
            int(environ["SLURM_LOCALID"]),
            int(environ["SLURM_LOCALID"]) + 1,
            environ.get("MASTER_ADDR") or first_host(environ["SLURM_STEP_NODELIST"]),
            int(environ.get("MASTER_PORT", port)),
            has_own_gpu,
        )
    return None


def stand_alone() -> None:
    """Have this process be none of those among which Ray's own were started."""
    for name in STARTED:
        os.environ.pop(name, None)


def first_host(nodes: str) -> str:
    """The first of Slurm's list of nodes: `gpu[03-05,9],login` begins with gpu03."""
    found = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\]([^,\[]*))?", nodes)
    assert found is not None, "Slurm names the nodes of a step"
    name, number, behind = found.groups()
    return f"{name}{number or ''}{behind or ''}"


def follows() -> bool:
    """Whether another process leads: this one computes with it, and says and writes nothing."""
    place = launched()
    return place is not None and place.rank > 0


def is_first_here() -> bool:
    """Whether this process is alone on its machine, or the first of those that were started there."""
    place = launched()
    return place is None or place.local_rank == 0
