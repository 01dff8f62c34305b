"""The model itself: a tower, a connector and a decoder; pictures stand in the sequence, or are looked at across."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from flamingo_lab.config import Architecture, Connector, Cross, QueryResampler, Resampler, TwoLengths
from flamingo_lab.markup import Fill
from flamingo_lab.nn.attention import Heads, attend
from flamingo_lab.nn.decoder import CausalDecoder, Ends, Memory
from flamingo_lab.nn.gated import GatedCrossAttention, Looking
from flamingo_lab.nn.lengths import BothLengths
from flamingo_lab.nn.locator import Locator
from flamingo_lab.nn.perceiver import PerceiverResampler
from flamingo_lab.nn.positions import Places
from flamingo_lab.nn.projector import LinearProjector
from flamingo_lab.nn.query_resampler import AttentionPool
from flamingo_lab.nn.vit import VisionTower
from flamingo_lab.tiles import Tiling


@dataclass(frozen=True)
class Pictures:
    """A batch's pictures side by side, each token looking at one of its row's.

    heads: one (B, H, I * L, d) pair a block, over all pictures of a row; mask (B, 1, T, I * L) bool: which of them a token
    may attend to, all where it sees none; sees (B, 1, T, 1) bool: whether it sees any.
    """

    heads: Sequence[Heads]
    mask: Tensor
    sees: Tensor

    def attend(self, block: int, queries: Tensor) -> Tensor:
        """See `Looking`."""
        held = self.heads[block]
        return torch.where(self.sees, attend(queries, held.keys, held.values, self.mask), 0.0)


class VLM(nn.Module):
    """A vision-language model."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        decoder, join, tiling = architecture.decoder, architecture.join, architecture.tiling
        self.tower = VisionTower(architecture.vision) if architecture.vision else None
        self.connector = connector(architecture.connector)
        self.newline = nn.Parameter(torch.zeros(decoder.width)) if tiling and tiling.has_newline else None
        self.decoder = CausalDecoder(decoder)
        layers = join.layers if isinstance(join, Cross) else ()
        self.join = nn.ModuleList(GatedCrossAttention(decoder.width, join) for _ in layers if isinstance(join, Cross))
        self.locator = Locator(architecture.locator, decoder.width) if architecture.locator else None
        self._block_before = {layer: block for block, layer in enumerate(layers)}

    @property
    def blocks(self) -> list[GatedCrossAttention]:
        """The gated blocks, in the order of their layers."""
        return cast(list[GatedCrossAttention], list(self.join))

    @property
    def device(self) -> torch.device:
        return self._resident.device

    @property
    def dtype(self) -> torch.dtype:
        return self._resident.dtype

    @property
    def _resident(self) -> Tensor:
        """A weight that is in memory wherever the others are."""
        return next(self.decoder.norm.parameters())

    def encode(self, views: Sequence[Tensor], sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
        """The tokens (L, D) of each picture, from its views (N, 3, px, px) and its size (width, height).

        Without a tower a picture's views are its patches (L, numbers of a patch).
        """
        counts = [len(of_picture) for of_picture in views]
        pixels = torch.cat(list(views))
        tokens = self.connector(pixels if self.tower is None else self.tower(pixels)).split(counts)
        return [self._arranged(of_picture, size) for of_picture, size in zip(tokens, sizes, strict=True)]

    def _arranged(self, tokens: Tensor, size: tuple[int, int]) -> Tensor:
        """A picture's views (N, P, D), or its patches (L, D), as one sequence."""
        tiling = self.architecture.tiling
        if tiling is None or tiling.merge == "flat":
            return tokens.flatten(0, -2)
        return torch.cat((tokens[0], canvas(tokens[1:], tiling, size, self.newline)))

    def look_at(self, pictures: Sequence[Sequence[Tensor]], sees: Tensor) -> Pictures | None:
        """The pictures' tokens (L, D), row by row, ready for tokens that see those of the indices sees (B, T) int.

        `NONE` in `sees` is no picture; None comes back where nothing looks at any.
        """
        most = max(map(len, pictures))
        if not self.join or not most:
            return None
        length, width = self.architecture.tokens_per_view, self.architecture.picture_width
        padded = torch.zeros((len(pictures), most, length, width), device=self.device, dtype=self.dtype)
        for row, held in enumerate(pictures):
            if held:
                padded[row, : len(held)] = torch.stack(list(held))
        visible = sees[..., None] == torch.arange(most, device=sees.device)
        any_seen = visible.any(-1, keepdim=True)
        mask = (visible | ~any_seen).repeat_interleave(length, -1)
        return Pictures(self.heads_of(padded.flatten(1, 2)), mask[:, None], any_seen[:, None])

    def heads_of(self, tokens: Tensor) -> list[Heads]:
        """Keys and values of picture tokens (B, S, D) for every gated block."""
        return [block.attention.keys_values(tokens) for block in self.blocks]

    def embed(
        self,
        ids: Tensor,
        fills: Sequence[Sequence[Fill]] = (),
        pictures: Sequence[Mapping[int, Tensor] | Sequence[Tensor]] = (),
    ) -> Tensor:
        """Embedded tokens (B, T, D). ids (B, T) int, `PICTURE` where picture tokens go.

        fills: for each row, which tokens those are, by position in the row; pictures: each row's pictures' tokens (L, D).
        """
        x = self.decoder.embedding(ids.clamp(min=0))
        for row, of_row in enumerate(fills):
            for fill in of_row:
                shown = pictures[row][fill.image][fill.first : fill.first + fill.tokens]
                x[row, fill.position : fill.position + fill.tokens] = shown
        return x

    def forward(
        self,
        x: Tensor,
        places: Places,
        pictures: Looking | None,
        memory: Memory | None = None,
        ends: Ends | None = None,
    ) -> Tensor:
        """Hidden states after the last norm, (B, T, D), or (B, 1, D) where only the rows' `ends` are asked for.

        x (B, T, D) embedded tokens; `pictures`: what they may look at across; `memory` holds the keys and values of the
        tokens before, which `places` counts.
        """
        if not self.join:
            return self.decoder(x, places, memory, ends=ends)
        blocks = self.blocks

        def before(layer: int, x: Tensor) -> Tensor:
            block = self._block_before.get(layer)
            return x if block is None else blocks[block](x, block, pictures)

        return self.decoder(x, places, memory, before, ends)

    def logits(self, hidden: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, V)."""
        return self.decoder.logits(hidden)


def connector(config: Connector | None) -> nn.Module:
    """The module of this kind."""
    if config is None:
        return nn.Identity()
    if isinstance(config, TwoLengths):
        return BothLengths(config)
    if isinstance(config, QueryResampler):
        return AttentionPool(config)
    return PerceiverResampler(config) if isinstance(config, Resampler) else LinearProjector(config)


def canvas(tiles: Tensor, tiling: Tiling, size: tuple[int, int], newline: Tensor | None) -> Tensor:
    """The tokens (L, D) of a picture's tiles (N, P, D), row by row over its canvas, without what is padding."""
    (rows, columns), side = tiling.shape(size), tiling.side_tokens
    grid = tiles.view(rows, columns, side, side, -1).permute(0, 2, 1, 3, 4).reshape(rows * side, columns * side, -1)
    kept = tiling.kept(size)
    grid = grid[kept.top : kept.bottom, kept.left : kept.right]
    if newline is not None:
        grid = torch.cat((grid, newline.expand(len(grid), 1, -1)), 1)
    return grid.flatten(0, 1)
