"""The model itself: a tower, a connector and a decoder, joined by gated cross-attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from flamingo_lab.config import Architecture
from flamingo_lab.nn.attention import Heads
from flamingo_lab.nn.decoder import CausalDecoder, Memory
from flamingo_lab.nn.gated import GatedCrossAttention, View
from flamingo_lab.nn.perceiver import PerceiverResampler
from flamingo_lab.nn.vit import VisionTower


@dataclass(frozen=True)
class Pictures:
    """A batch's pictures, ready to be looked at: each gated block's keys and values over all pictures of a row.

    heads: one (B, H, I * L, d) pair a block; empty where no row holds a picture.
    """

    heads: Sequence[Heads]
    tokens_per_image: int

    def select(self, rows: Tensor) -> Pictures:
        """The given rows, in the given order."""
        return replace(self, heads=[Heads(h.keys[rows], h.values[rows]) for h in self.heads])


class VLM(nn.Module):
    """A vision-language model of the cross-attention line (Flamingo, IDEFICS)."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.tower = VisionTower(architecture.tower)
        self.connector = PerceiverResampler(architecture.connector) if architecture.connector else nn.Identity()
        self.decoder = CausalDecoder(architecture.decoder)
        self.join = nn.ModuleList(
            GatedCrossAttention(architecture.decoder, architecture.join) for _ in architecture.join.layers
        )
        self._block_before = {layer: block for block, layer in enumerate(architecture.join.layers)}

    @property
    def blocks(self) -> list[GatedCrossAttention]:
        """The gated blocks, in the order of their layers."""
        return cast(list[GatedCrossAttention], list(self.join))

    @property
    def device(self) -> torch.device:
        return self.decoder.norm.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder.norm.weight.dtype

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels (N, 3, px, px) -> picture tokens (N, L, Dv)."""
        return self.connector(self.tower(pixels))

    def look_at(self, tokens: Tensor) -> Pictures:
        """Keys and values of picture tokens (B, I, L, Dv) for every gated block."""
        flat = tokens.flatten(1, 2)
        heads = [block.attention.keys_values(flat) for block in self.blocks] if tokens.shape[1] else []
        return Pictures(heads, tokens.shape[2])

    def forward(
        self,
        ids: Tensor,
        positions: Tensor,
        mask: Tensor,
        pictures: Pictures,
        sees: Tensor,
        memory: Memory | None = None,
    ) -> Tensor:
        """Hidden states (B, T, D) of ids (B, T).

        positions (B, T) int; mask (B, 1, T, S) bool over everything in `memory` and the new tokens;
        sees (B, T, I) bool: which of its row's pictures a token may look at.
        """
        view = View.of(sees, pictures.tokens_per_image)
        blocks = self.blocks

        def before(layer: int, x: Tensor) -> Tensor:
            block = self._block_before.get(layer)
            if block is None:
                return x
            return blocks[block](x, pictures.heads[block] if pictures.heads else None, view)

        return self.decoder(self.decoder.embedding(ids), positions, mask, memory, before)

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, V)."""
        return self.decoder.logits(hidden)


def causal_mask(real: Tensor) -> Tensor:
    """(B, 1, T, T) bool: a token attends to itself and the real tokens before it. real (B, T) bool, False on padding."""
    length = real.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool, device=real.device).tril()
    return causal & real[:, None, None, :]


def positions_of(real: Tensor) -> Tensor:
    """(B, T) int: how many real tokens stand before each one; padding gets 0."""
    return (real.cumsum(-1) - 1).clamp(min=0)
