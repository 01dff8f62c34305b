"""Devices that are made up."""

from __future__ import annotations

from collections.abc import Sequence

from flamingo_lab.engine.budget import GIB
from flamingo_lab.placement.devices import Device, Machine, Memory
from flamingo_lab.quant import FORMS

TAKEN = GIB // 4
"""What this process has of a CPU's memory."""


def gpu(index: int, gib: float, forms: Sequence[str] = FORMS) -> Device:
    """A GPU of so much memory, all of it free."""
    return Device("cuda", index, int(gib * GIB), lambda: Memory(int(gib * GIB), 0), forms)


def cpu(gib: float, *, forms: Sequence[str] = (), has_bfloat16: bool = True) -> Device:
    """A CPU with so much free memory, of which this process has taken a little."""
    free = int(gib * GIB)
    return Device("cpu", 0, free + TAKEN, lambda: Memory(free, TAKEN), forms, has_bfloat16)


def machine(memory: float, *gpus: float, forms: Sequence[str] = FORMS) -> Machine:
    return Machine(cpu(memory), [gpu(index, gib, forms) for index, gib in enumerate(gpus)])
