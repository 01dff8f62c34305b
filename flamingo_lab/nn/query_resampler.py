"""Learned queries that look at a picture's patches once, both knowing where they stand in it (Qwen-VL, visual.py)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flamingo_lab.config import QueryResampler
from flamingo_lab.nn.attention import Attention, attend
from flamingo_lab.nn.vit import interpolated


class AttentionPool(nn.Module):
    """Patches (N, P, width of the tower) -> latents (N, L, D). Positions are added to queries and keys, not to values."""

    def __init__(self, config: QueryResampler) -> None:
        super().__init__()
        is_wide = config.in_width == config.width
        self.project = nn.Identity() if is_wide else nn.Linear(config.in_width, config.width, bias=False)
        self.patches_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.latents = nn.Parameter(torch.zeros(config.latents, config.width))
        self.latents_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.positions = nn.Parameter(torch.zeros(config.latents, config.width))
        self.attention = Attention(config.width, config.heads, has_bias=True)
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(self, patches: Tensor) -> Tensor:
        x = self.patches_norm(self.project(patches))
        placed = x + interpolated(self.positions, x.shape[1])
        queries = self.attention.queries((self.latents_norm(self.latents) + self.positions)[None])
        keys, values = self.attention.keys_values(placed, x)
        attended = attend(queries.expand(len(x), -1, -1, -1), keys, values, None)
        return self.out(self.norm(self.attention.merge(attended)))
