"""How long the processes of a model wait for each other, and how they part."""

from __future__ import annotations

import weakref
from datetime import timedelta

import torch.distributed as dist
from torch.distributed.distributed_c10d import _abort_process_group  # pyright: ignore[reportPrivateUsage] - the public one waits

MEETING = timedelta(hours=1)
"""For all processes to come together. The first one on each machine digests the files before it comes."""

TIMEOUT = timedelta(minutes=10)
"""For the others to come where rank 0 is. Whoever does not is taken for lost."""

READING = timedelta(hours=6)
"""For the others to have read their weights."""

DEATH_SECONDS = 2.0
"""Between a connection that breaks and the end of the process that had it."""

FOREVER = timedelta(days=365)
"""For rank 0 to come where the others are: its user may think, or have stopped it for a while."""


def patience(rank: int) -> timedelta:
    """How long a rank waits for the others before it takes one for lost."""
    return FOREVER if rank else TIMEOUT


def part() -> None:
    """Let go of all connections. A process that ends with some of them open may be aborted at its very end."""
    if dist.is_initialized():
        dist.destroy_process_group()


def break_off() -> None:
    """Let go of all connections where another process is gone. What is still on its way over NCCL would never arrive."""
    if dist.is_initialized():
        _abort_process_group()


def part_at_the_end() -> None:
    """Have this process part when it ends, behind all models that come to it from now on."""
    weakref.finalize(part, part)  # a function of `atexit` would run before what ends these models
