"""Devices and dtypes by their names, and what this machine has."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch

from flamingo_lab import host
from flamingo_lab.engine.budget import free_bytes, taken_bytes
from flamingo_lab.errors import BadSetting
from flamingo_lab.quant import FORMS, check_kernels

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

ROOM = 0.5
"""Share of this machine's memory that weights may take in float32 before `auto` takes bfloat16 on any CPU."""

AUTO, CPU, CUDA = "auto", "cpu", "cuda"


class Memory(NamedTuple):
    """Bytes of a device: what nobody holds, and what this process does."""

    free: int
    taken: int


@dataclass(frozen=True)
class Device:
    """A device: its kind, its number, all of its memory in bytes, and the `quant.FORMS` that it computes with.

    `look` says what of its memory is free. It is called once, when that is first asked: looking at a GPU takes some of it.
    """

    type: Literal["cpu", "cuda"]
    index: int
    total: int
    look: Callable[[], Memory]
    forms: Sequence[str] = ()
    has_bfloat16: bool = True

    @cached_property
    def memory(self) -> Memory:
        """Its memory as it was when it was first looked at."""
        return self.look()

    @property
    def torch(self) -> torch.device:
        """Its name for torch."""
        return torch.device(CPU) if self.type == CPU else torch.device(CUDA, self.index)


class Machine(NamedTuple):
    """What there is to compute with. GPUs in the order of their numbers."""

    cpu: Device
    gpus: Sequence[Device] = ()


def here() -> Machine:
    """This machine."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return Machine(_cpu(), [_gpu(index) for index in range(count)])


def _cpu() -> Device:
    device = torch.device(CPU)
    return Device(
        CPU,
        0,
        host.total_bytes(),
        lambda: Memory(free_bytes(device), taken_bytes(device)),
        _forms(CPU),
        has_native_bfloat16(),
    )


def _gpu(index: int) -> Device:
    device = torch.device(CUDA, index)
    total = torch.cuda.get_device_properties(device).total_memory
    return Device(CUDA, index, total, lambda: Memory(free_bytes(device), taken_bytes(device)), _forms(CUDA))


def _forms(device_type: str) -> Sequence[str]:
    """The forms of weights that there are kernels for."""
    found: list[str] = []
    for form in FORMS:
        try:
            check_kernels(form, device_type)
        except BadSetting:
            continue
        found.append(form)
    return found


def named(name: str, machine: Machine) -> Sequence[Device]:
    """The devices of this name; for auto all that there are, GPUs first. Raises `BadSetting`."""
    if name == AUTO:
        return [*machine.gpus, machine.cpu]
    if name == CPU:
        return [machine.cpu]
    return [machine.gpus[index] for index in _indices(name, len(machine.gpus))]


def is_on_cpu(name: str) -> bool:
    """Whether what is asked to be on this device can be nowhere but on the CPU. Raises `BadSetting`."""
    return all(device.type == CPU for device in named(name, here()))


def device_of(name: str) -> torch.device:
    """The one device of this name; auto is the GPU where there is one. Raises `BadSetting`."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == CPU or (name == AUTO and not count):
        return torch.device(CPU)
    indices = range(1) if name == AUTO else _indices(name, count)
    if name not in (AUTO, CUDA) and len(indices) > 1:
        raise BadSetting(f"--device {name}: this model takes one device")
    return torch.device(CUDA, indices[0])


def told(device: torch.device) -> dict[str, str]:
    """Facts of a device for a run's record."""
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == CUDA else {}
    return {"device": str(device), **gpu}


def _indices(name: str, there: int) -> Sequence[int]:
    """The numbers of the GPUs of this name, of so many that are there."""
    if not re.fullmatch(r"cuda(:\d+(,\d+)*)?", name):
        raise BadSetting(f"device {name!r} is none of auto, cpu, cuda, cuda:N, cuda:N,M")
    numbers = name.removeprefix(CUDA).removeprefix(":")
    indices = sorted(map(int, numbers.split(","))) if numbers else range(there)
    if len(set(indices)) < len(indices):
        raise BadSetting(f"device {name} names a GPU twice")
    if not indices or indices[-1] >= there:
        has = "none" if not there else "cuda:0" if there == 1 else f"cuda:0 to cuda:{there - 1}"
        raise BadSetting(f"device {name}: of the GPUs that torch can use this machine has {has}")
    return indices


def dtype_of(name: str, device: torch.device, parameters: int) -> torch.dtype:
    """The dtype of this name; see `load` for auto, which depends on how many parameters there are. Raises `BadSetting`."""
    if name != AUTO:
        return dtype_named(name)
    if device.type != CPU:
        return torch.bfloat16
    return dtype_on_cpu(parameters, _cpu())


def dtype_named(name: str) -> torch.dtype:
    """The dtype of this name, which is not auto. Raises `BadSetting`."""
    if name not in DTYPES:
        raise BadSetting(f"dtype {name!r} is none of auto, {', '.join(DTYPES)}")
    return DTYPES[name]


def dtype_on_cpu(parameters: int, cpu: Device) -> torch.dtype:
    """What `auto` means on a CPU."""
    is_float32 = not cpu.has_bfloat16 and 4 * parameters <= ROOM * cpu.total
    return torch.float32 if is_float32 else torch.bfloat16


def has_native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 by itself, and not through float32."""
    flags = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, flag, lambda: False)() for flag in flags)
