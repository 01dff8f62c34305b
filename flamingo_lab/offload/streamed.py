"""A model whose weights pass through memory while it computes."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import nlargest
from typing import Any

import torch
from torch import Tensor, nn

from flamingo_lab.checkpoint import release
from flamingo_lab.engine.budget import GIB, free_bytes, taken_bytes
from flamingo_lab.errors import BadSetting
from flamingo_lab.offload.items import Item, Parted, part
from flamingo_lab.offload.reader import Reader
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import Source, put

AHEAD = 0.1
"""Share of the memory for weights in use and read ahead; at least the two largest have to fit."""


@dataclass(frozen=True, eq=False)
class Place:
    """A parameter of a module that holds a weight for a while, and nothing but its shape otherwise."""

    owner: nn.Module
    name: str
    nothing: nn.Parameter

    def fill(self, weight: Tensor) -> None:
        """Hold a weight."""
        setattr(self.owner, self.name, nn.Parameter(weight, requires_grad=False))

    def empty(self) -> None:
        """Hold none."""
        setattr(self.owner, self.name, self.nothing)


class Streamed:
    """The weights of a `VLM` that are not in memory. A hook before each module that owns one has it brought.

    `memory` (bytes,) uint8 is what they pass through; `is_cached`: see `Reader`. `counts` says what was read. Only one thread
    may compute.
    """

    def __init__(self, vlm: VLM, parted: Parted, memory: Tensor, dtype: torch.dtype, *, is_cached: bool) -> None:
        self.memory_bytes = memory.nbytes
        self._dtype, self._device = dtype, memory.device
        self._items = {name: item for item in (*parted.passes, *parted.rows) for name in item.target.names}
        reader = Reader(parted.passes, memory, dtype, is_cached)
        self.counts, self._take = reader.counts, reader.take
        weakref.finalize(vlm, reader.close)
        self._current: Item | None = None
        self._filled: Sequence[Place] = ()
        for item in parted.passes:
            places = _places(vlm, item)
            for owner in dict.fromkeys(place.owner for place in places):
                owner.register_forward_pre_hook(partial(self._bring, item, places))
        self._rows = [(item, _places(vlm, item)) for item in parted.rows]
        self._opened: list[Tensor] = []
        vlm.decoder.embedding.register_forward_pre_hook(self._open_rows)
        vlm.decoder.embedding.register_forward_hook(self._close_rows)

    def counters(self) -> Mapping[str, float]:
        """The counts by name, as a run's record has them."""
        return {f"weights_{name}": value for name, value in vars(self.counts).items()}

    def weight(self, name: str) -> Tensor:
        """One of the weights that are not in memory, by our name, as it computes."""
        item = self._items[name]
        tensor, parts = item.read()
        found = parts[item.target.names.index(name)].to(self._device, self._dtype, copy=True)
        release(tensor)
        return found

    def _bring(self, item: Item, places: Sequence[Place], module: nn.Module, given: Any) -> None:
        if item is self._current:
            return
        for place in self._filled:
            place.empty()
        self._current, self._filled = None, ()
        for place, weight in zip(places, self._take(item), strict=True):
            place.fill(weight)
        self._current, self._filled = item, places

    def _open_rows(self, embedding: nn.Module, given: tuple[Tensor]) -> tuple[Tensor]:
        """Map the file, so that the rows that are looked up are all that is read of it."""
        for item, places in self._rows:
            tensor, parts = item.read()
            self._opened.append(tensor)
            for place, rows in zip(places, parts, strict=True):
                place.fill(rows)
        return (given[0].cpu(),)

    def _close_rows(self, embedding: nn.Module, given: Any, found: Tensor) -> Tensor:
        for _, places in self._rows:
            for place in places:
                place.empty()
        while self._opened:
            release(self._opened.pop())
        return found.to(self._device, self._dtype)


def stream(
    vlm: VLM, sources: Sequence[Source], *, dtype: torch.dtype, device: torch.device, bound_bytes: int
) -> Streamed:
    """Make a model on the meta device compute with weights that stay in their files, within `bound_bytes`.

    Raises `BadSetting` where that is less than the program, what stays in memory, and the two largest weights take.
    """
    parted = part(vlm, sources)
    largest = nlargest(2, parted.passes, key=lambda item: item.nbytes(dtype))
    two = sum(item.nbytes(dtype) for item in largest)
    stays = sum(item.nbytes(dtype) for item in parted.stays)
    working = max(item.working_bytes for item in (*parted.passes, *parted.rows, *parted.stays))
    needed = taken_bytes(device) + stays + two + working
    if bound_bytes < needed:
        raise BadSetting(
            f"--memory {bound_bytes / GIB:.2f} GiB is less than the {needed / GIB:.2f} GiB that --offload takes: the "
            f"largest weights, {' and '.join(item.published for item in largest)}, are {two / GIB:.2f} GiB; the program "
            f"and what stays in memory are {(needed - two) / GIB:.2f} GiB"
        )
    for item in parted.stays:
        tensor, parts = item.read()
        for name, weight in zip(item.target.names, parts, strict=True):
            put(vlm, name, weight.to(device, dtype, copy=True))
        release(tensor)
    whole = sum(item.nbytes(dtype) for item in parted.passes)
    # Touched at once, so that what the engine finds to be free is free.
    memory = torch.empty(buffer_bytes(whole, two, bound_bytes), dtype=torch.uint8, device=device).fill_(0)
    return Streamed(vlm, parted, memory, dtype, is_cached=_are_cached(sources, device, bound_bytes))


def buffer_bytes(whole: int, two: int, bound_bytes: int) -> int:
    """What weights pass through: at least the `two` largest, so that one is read while another is used; at most all."""
    return min(whole, max(two, int(AHEAD * bound_bytes)))


def _are_cached(sources: Sequence[Source], device: torch.device, bound_bytes: int) -> bool:
    """Whether the files fit into what this process leaves free; a cache that is too small for all of them is of no use.

    What it may take of a GPU takes nothing from the cache.
    """
    wanted_bytes = bound_bytes - taken_bytes(device) if device.type == "cpu" else 0
    files = sum(file.stat().st_size for tensors, _ in sources for file in tensors.files)
    return files <= free_bytes(torch.device("cpu")) - wanted_bytes


def _places(vlm: VLM, item: Item) -> Sequence[Place]:
    """Where an item's parameters are held."""
    places: list[Place] = []
    for name, shape in zip(item.target.names, item.shapes, strict=True):
        path, _, own = name.rpartition(".")
        nothing = nn.Parameter(torch.empty(shape, device="meta"), requires_grad=False)
        places.append(Place(vlm.get_submodule(path), own, nothing))
        places[-1].empty()
    return places
