"""Which weights pass through memory, which are looked up row by row in their file, and which stay in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from flamingo_lab.checkpoint import Checkpoint, Tensors, is_mapped, release
from flamingo_lab.config import Cross
from flamingo_lab.errors import BadSetting
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import Source, Target, check, held

ALIGNED = 64
"""Bytes to whose multiples weights are placed in memory, as torch places its own."""

CHUNK_BYTES = 16 * 2**20
"""Of a file at a time, where a tensor is not changed on its way: so much of it is in memory twice."""

EMBEDDING, HEAD = "decoder.embedding", "decoder.head"
"""The vocabulary's two ends. A head without weights of its own computes with the embedding's."""


class Stretch(NamedTuple):
    """Bytes of a file, from first to end."""

    file: Path
    first: int
    end: int


@dataclass(frozen=True, eq=False)
class Item:
    """A published tensor, in the dtype of its file, and the parameters that it becomes, which have these shapes."""

    tensors: Tensors
    published: str
    dtype: torch.dtype
    target: Target
    shapes: tuple[tuple[int, ...], ...]

    def nbytes(self, dtype: torch.dtype) -> int:
        """What its parameters take in memory."""
        return sum(aligned(math.prod(shape) * dtype.itemsize) for shape in self.shapes)

    @property
    def working_bytes(self) -> int:
        """About what reading it takes beside what becomes of it."""
        numbers = sum(math.prod(shape) for shape in self.shapes)
        if not isinstance(self.tensors, Checkpoint):  # put together in float32
            return 3 * numbers * torch.float32.itemsize
        return 2 * CHUNK_BYTES if self.target.step is None else 2 * numbers * self.dtype.itemsize

    def read(self) -> tuple[Tensor, Sequence[Tensor]]:
        """The published tensor, and our parameters in the file's dtype: views of it where that is possible."""
        tensor = self.tensors.tensor(self.published)
        return tensor, self.target.apply(tensor)

    @cached_property
    def stretches(self) -> Sequence[Stretch] | None:
        """Where each parameter lies in one piece in a file, None where not all of them do. Looked up once for all passes."""
        tensor, parts = self.read()
        found = [one for part in parts if (one := self._stretch(part, tensor)) is not None]
        release(tensor)
        return found if len(found) == len(parts) else None

    def is_view(self, part: Tensor, tensor: Tensor) -> bool:
        """Whether one of the parameters that `read` gave views the file, as the published tensor does."""
        storages = {one.untyped_storage().data_ptr() for one in (part, tensor)}
        return isinstance(self.tensors, Checkpoint) and len(storages) == 1

    def _stretch(self, part: Tensor, tensor: Tensor) -> Stretch | None:
        if not (self.is_view(part, tensor) and part.is_contiguous() and isinstance(self.tensors, Checkpoint)):
            return None
        start = self.tensors.start(self.published)
        if start is None or start % self.dtype.itemsize:
            return None
        first = start + part.data_ptr() - tensor.data_ptr()
        return Stretch(self.tensors[self.published].file, first, first + part.nbytes)


class Parted(NamedTuple):
    """A model's weights. `passes` is in the order in which a model's parts are listed, which is nearly that of their use."""

    passes: Sequence[Item]
    rows: Sequence[Item]
    stays: Sequence[Item]


def part(vlm: VLM, sources: Sequence[Source]) -> Parted:
    """Matrices of linear layers pass, embeddings are looked up, and all else is small and stays.

    Raises `BadCheckpoint` as loading does, and `BadSetting` for files that cannot be mapped.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in held(vlm).items()}
    tied = {f"{EMBEDDING}.{name}": f"{HEAD}.{name}" for name in ("weight", "extra")}
    is_tied = vlm.decoder.head.weight is None
    order = {name: number for number, name in enumerate(in_order(vlm))}
    passes: list[Item] = []
    rows: list[Item] = []
    stays: list[Item] = []
    for (tensors, _), fills in zip(sources, check(vlm, sources), strict=True):
        _refuse_unmapped(tensors.files)
        entries = dict(tensors.items())
        for published, target in fills.items():
            item = Item(
                tensors, published, entries[published].dtype, target, tuple(shapes[name] for name in target.names)
            )
            if order.keys() >= set(target.names):
                passes.append(item)
            elif tied.keys() >= set(target.names):
                rows.append(item)
                if is_tied:
                    again = Target(tuple(tied[name] for name in target.names), target.step)
                    (passes if order.keys() >= set(again.names) else stays).append(replace(item, target=again))
            else:
                stays.append(item)
    return Parted(sorted(passes, key=lambda item: order[item.target.names[0]]), rows, stays)


def in_order(vlm: VLM) -> Sequence[str]:
    """The names of what passes, about as a prompt with pictures needs them: a gated block stands before its layer."""
    names: dict[nn.Module, str] = {
        module: f"{name}.weight" for name, module in vlm.named_modules() if isinstance(module, nn.Linear)
    }
    names[vlm.decoder.head] = f"{HEAD}.weight"
    join = vlm.architecture.join
    before = dict(zip(join.layers, vlm.blocks, strict=True)) if isinstance(join, Cross) else {}
    parts: list[nn.Module | None] = [vlm.tower, vlm.connector]
    parts += [one for block in vlm.blocks for one in (block.attention.k, block.attention.v)]
    parts += [one for number, layer in enumerate(vlm.decoder.layers) for one in (before.get(number), layer)]
    inner = [module for one in (*parts, vlm) if one is not None for module in one.modules()]
    return [names[module] for module in dict.fromkeys(inner) if module in names]


def aligned(nbytes: int) -> int:
    """The next multiple of `ALIGNED`."""
    return -(-nbytes // ALIGNED) * ALIGNED


def _refuse_unmapped(files: Sequence[Path]) -> None:
    for file in files:
        if not is_mapped(file):
            raise BadSetting(f"--offload: {file} is in a form from before torch 1.6, which has to be read as a whole")
