"""Keys and values of the text so far, for every layer, in buffers of a fixed capacity."""

from __future__ import annotations

import torch
from torch import Tensor

from flamingo_lab.nn.attention import Heads


class KV:
    """A batch's text memory. `extend` writes behind what is there; `advance` makes a forward pass's tokens permanent."""

    def __init__(self, layers: int, capacity: int) -> None:
        self._heads: list[Heads | None] = [None] * layers
        self._capacity = capacity
        self._length = 0

    def extend(self, layer: int, new: Heads) -> Heads:
        """The layer's keys and values (B, H, S + T, d) with the new ones (B, H, T, d) last."""
        end = self._length + new.keys.shape[2]
        held = self._heads[layer]
        if held is None:
            rows, heads, _, width = new.keys.shape
            held = Heads(*(new.keys.new_empty(rows, heads, self._capacity, width) for _ in range(2)))
            self._heads[layer] = held
        held.keys[:, :, self._length : end] = new.keys
        held.values[:, :, self._length : end] = new.values
        return Heads(held.keys[:, :, :end], held.values[:, :, :end])

    def advance(self, tokens: int) -> None:
        """Count a forward pass's tokens as held."""
        self._length += tokens

    def select(self, rows: Tensor) -> None:
        """Keep the given rows, in the given order; a row may be named more than once."""
        self._heads = [
            None if held is None else Heads(*(torch.index_select(part, 0, rows) for part in held))
            for held in self._heads
        ]
