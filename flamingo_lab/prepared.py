"""Models whose weights are not in memory yet, and how several of them share it."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from flamingo_lab import host
from flamingo_lab.config import Architecture
from flamingo_lab.engine.heap import give_back
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.nn.decoder import Head
from flamingo_lab.nn.linear import Linear, is_packed_best, packed
from flamingo_lab.offload.streamed import stream
from flamingo_lab.placement.plan import Plan
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import Laid, Source, fill

TEXT = ("decoder.", "join.")
"""Parts of a model that answers go through token by token."""

ROOM = 0.8
"""Share of a device's memory that the weights of several models may take together; the rest is for their work."""


@dataclass(frozen=True)
class Prepared:
    """A model that is understood, checked and digested. `unread` has everything but its weights, which `read` brings.

    `plan`: where the weights go; `asked`: the arguments of `loading.prepare`, for other processes with a slice each.
    """

    unread: LoadedModel
    sources: Sequence[Source]
    plan: Plan
    asked: tuple[Any, ...] = ()

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in."""
        return self.plan.form.dtype

    @property
    def device(self) -> torch.device:
        """This process's device."""
        return self.plan.devices[0]

    @property
    def architecture(self) -> Architecture:
        """What the model is made of."""
        return self.unread.vlm.architecture

    @property
    def nbytes(self) -> int:
        """What the weights take in memory."""
        return sum(share.needs.weights for share in self.plan.chosen.shares)

    def read(self) -> LoadedModel:
        """The model with its weights. Where several processes share them, see `parallel.reading.read`."""
        ranks = self.plan.slices
        if ranks > 1:
            from flamingo_lab.parallel import reading

            return reading.read(self, ranks, self.asked)
        with torch.device("meta"):
            vlm = VLM(self.architecture)
        streamed = None
        if self.plan.offload:
            bound = self.unread.room.bytes_for(self.device)
            streamed = stream(vlm, self.sources, dtype=self.dtype, device=self.device, bound_bytes=bound)
        elif self.plan.form.quant:
            from flamingo_lab.quant import reading

            reading.fill(vlm, self.sources, self.plan.form.quant, dtype=self.dtype, device=self.device)
        else:
            fill(vlm, self.sources, dtype=self.dtype, device=self.device, laid=laid(vlm, self.device, self.dtype))
            give_back()  # the plain matrices, where packed ones lie between them
        vlm.eval()
        return replace(self.unread, vlm=vlm, streamed=streamed)


def laid(vlm: VLM, device: torch.device, dtype: torch.dtype) -> Laid:
    """How weights lie in memory: packed where that is faster, if each new token is multiplied with them."""
    names: set[str] = set()
    if is_packed_best(device, dtype):
        names = {f"{name}.weight" for name, one in vlm.named_modules() if isinstance(one, (Linear, Head))}
    return lambda name, weight: packed(weight) if name in names and name.startswith(TEXT) else weight


class Seats:
    """Models by role, read when they are first needed: all of them stay, or one at a time where memory is short."""

    def __init__(self, models: Mapping[str, Prepared], *, room_bytes: float | None = None) -> None:
        self.models = models
        room = ROOM * min(map(memory, (one.device for one in models.values()))) if room_bytes is None else room_bytes
        self.all_fit = sum(one.nbytes for one in models.values()) <= room
        self._read: dict[str, LoadedModel] = {}

    def take(self, role: str) -> LoadedModel:
        """The model of this role, read anew where it had to make room. A model taken before may be gone then."""
        if role not in self._read:
            if not self.all_fit:
                self._read.clear()
                gc.collect()
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
            self._read[role] = self.models[role].read()
        return self._read[role]


def memory(device: torch.device) -> int:
    """All of a device's memory, in bytes."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return host.total_bytes()
