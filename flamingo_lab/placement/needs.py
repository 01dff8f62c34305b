"""What a form of a model takes, from a model on the meta device: no weights are read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache
from heapq import nlargest
from typing import NamedTuple

import torch
from torch import Tensor

from flamingo_lab.config import Architecture, Inline
from flamingo_lab.engine.budget import (
    GIB,
    START_BYTES,
    WARM_BYTES,
    bytes_of_work,
    tokens_held,
    tokens_of_pass,
)
from flamingo_lab.offload.items import CHUNK_BYTES, EMBEDDING, HEAD, in_order
from flamingo_lab.offload.streamed import buffer_bytes
from flamingo_lab.parallel import plan
from flamingo_lab.placement.devices import Device
from flamingo_lab.quant import FORMS, is_quantised, stored_bytes
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import held

TEXT_TOKENS = 1024
"""Of a prompt that has to fit: a question with a few worked examples. Longer ones pass where there is more room."""

PICTURE_SIZE = (1024, 768)
"""Of its picture, (width, height), where that takes places among the tokens."""


class Form(NamedTuple):
    """How weights are held: the dtype that is computed in, and one of `quant.FORMS` for the frozen matrices."""

    dtype: torch.dtype
    quant: str | None = None

    def __str__(self) -> str:
        name = str(self.dtype).removeprefix("torch.")
        return f"{self.quant} + {name}" if self.quant else name


class Slice(NamedTuple):
    """Which of how many ranks of a model is meant."""

    rank: int = 0
    ranks: int = 1


WHOLE = Slice()


class Needs(NamedTuple):
    """Bytes of one device. work: pictures, keys and values, and a pass, for a prompt of `planned_tokens`."""

    weights: int
    program: int
    work: int

    @property
    def held(self) -> int:
        """What is taken before anything is asked."""
        return self.weights + self.program

    @property
    def total(self) -> int:
        """All of them."""
        return self.held + self.work


class Streamed(NamedTuple):
    """Weights that stay in their files: bytes of those that do not, of all others, and of these the two largest."""

    stays: int
    passes: int
    two: int
    names: tuple[str, ...]

    @property
    def said(self) -> str:
        """What of it decides how little memory is enough."""
        return f": the largest weights, {' and '.join(self.names)}, are {self.two / GIB:.2f} GiB"


@lru_cache(maxsize=256)
def weight_bytes(vlm: VLM, form: Form, own: Slice = WHOLE) -> int:
    """What the weights take, or one rank's slice of them."""
    return sum(
        stored_bytes(shape, form.quant)
        if form.quant and is_quantised(name, whole)
        else math.prod(shape) * form.dtype.itemsize
        for name, whole, shape in _slices(vlm, own)
    )


def by_form(vlms: Iterable[VLM]) -> dict[str, int]:
    """What the weights of models take together, in the forms that they may have."""
    forms = [Form(torch.bfloat16), *(Form(torch.bfloat16, quant) for quant in FORMS)]
    models = list(vlms)
    return {form.quant or str(form): sum(weight_bytes(vlm, form) for vlm in models) for form in forms}


def _slices(vlm: VLM, own: Slice) -> Iterator[tuple[str, Tensor, tuple[int, ...]]]:
    """Names, parameters, and the shape of what a rank holds of them."""
    for name, whole in held(vlm).items():
        shape = tuple(whole.shape)
        if own.ranks == 1:
            yield name, whole, shape
        elif part := plan.held(name, shape, vlm.architecture, *own):
            yield name, whole, (*shape[: part.axis], part.end - part.first, *shape[part.axis + 1 :])


@lru_cache(maxsize=16)
def streamed(vlm: VLM, dtype: torch.dtype) -> Streamed:
    """See `Streamed`. A tensor that is published as several of ours passes with them, and may be larger."""
    sizes = {name: one.numel() * dtype.itemsize for name, one in held(vlm).items()}
    passes = {name: sizes.pop(name) for name in in_order(vlm) if name in sizes}
    rows = {name: sizes.pop(name) for name in list(sizes) if name.startswith(f"{EMBEDDING}.")}
    passes.setdefault(f"{HEAD}.weight", rows[f"{EMBEDDING}.weight"])  # a head without weights computes with these
    largest = nlargest(2, passes, key=passes.__getitem__)
    two = sum(passes[name] for name in largest)
    return Streamed(sum(sizes.values()), sum(passes.values()), two, tuple(largest))


def planned_tokens(built: Architecture, batch_tokens: int | None = None) -> int:
    """Tokens of the prompt that has to fit, at most so many as may pass together."""
    picture = built.tokens_of(PICTURE_SIZE) if isinstance(built.join, Inline) else 0
    most = built.decoder.positions if batch_tokens is None else min(batch_tokens, built.decoder.positions)
    return min(TEXT_TOKENS + picture, most)


def resident(vlm: VLM, form: Form, device: Device, tokens: int, own: Slice = WHOLE) -> Needs:
    """What a device needs that holds the weights, or a rank's slice of them."""
    starts = START_BYTES if device.type == "cpu" else 0
    return Needs(
        weight_bytes(vlm, form, own),
        max(device.memory.taken, starts),
        bytes_of_work(tokens, shared(vlm.architecture, own), form.dtype),
    )


def offloaded(vlm: VLM, dtype: torch.dtype, device: Device, tokens: int, bound: int) -> Needs:
    """What a device needs through whose memory the weights pass, of so many bytes that it may have."""
    found = streamed(vlm, dtype)
    return Needs(
        found.stays + buffer_bytes(found.passes, found.two, bound),
        device.memory.taken + WARM_BYTES + 2 * CHUNK_BYTES,
        bytes_of_work(tokens, vlm.architecture, dtype),
    )


def tokens_within(room: int, vlm: VLM, dtype: torch.dtype, own: Slice = WHOLE) -> int:
    """How long a prompt may be with so many bytes beside the weights."""
    built = shared(vlm.architecture, own)
    return max(0, min(tokens_of_pass(room, built, dtype), tokens_held(room, built, dtype)))


def shared(built: Architecture, own: Slice) -> Architecture:
    """The architecture with a rank's share of its heads."""
    return replace(built, decoder=replace(built.decoder, share=tuple(own)))
