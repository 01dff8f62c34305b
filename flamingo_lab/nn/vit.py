"""The vision tower: a ViT (arXiv 2010.11929) in CLIP's form (arXiv 2103.00020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flamingo_lab.config import Tower
from flamingo_lab.nn.attention import Attention
from flamingo_lab.nn.mlp import MLP


class TowerLayer(nn.Module):
    """Self-attention, then a feed-forward branch, each behind its norm."""

    def __init__(self, config: Tower) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.attention = Attention(config.width, config.heads, has_bias=True)
        self.mlp_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.mlp = MLP(config.width, config.mlp_width, config.activation, has_bias=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class VisionTower(nn.Module):
    """Pixels (N, 3, px, px) -> tokens (N, 1 + patches, D), the class token first.

    `post_norm` is published with the weights and acts on CLIP's pooled output only, which no language model reads.
    """

    def __init__(self, config: Tower) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(config.width))
        self.patches = nn.Conv2d(3, config.width, config.patch_px, config.patch_px, bias=False)
        self.positions = nn.Parameter(torch.zeros(config.tokens, config.width))
        self.pre_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.layers = nn.ModuleList(TowerLayer(config) for _ in range(config.layers))
        self.post_norm = nn.LayerNorm(config.width, config.norm_eps)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat((self.class_token.expand(len(patches), 1, -1), patches), 1)
        x = self.pre_norm(x + self.positions)
        for layer in self.layers:
            x = layer(x)
        return x
