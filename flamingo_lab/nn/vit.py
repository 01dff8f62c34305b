"""The vision tower: a ViT (arXiv 2010.11929) in the forms of CLIP (arXiv 2103.00020) and SigLIP (arXiv 2303.15343)."""

from __future__ import annotations

import math

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
    """Pixels (N, 3, px, px) -> tokens (N, tokens, D), the class token first where there is one and it is read.

    Layers behind the one that is read, the norm behind the last one and the projection are published with the weights;
    only `pooled` passes them.
    """

    def __init__(self, config: Tower) -> None:
        super().__init__()
        self.config = config
        self.class_token = nn.Parameter(torch.zeros(config.width)) if config.has_class_token else None
        self.patches = nn.Conv2d(3, config.width, config.patch_px, config.patch_px, bias=config.has_patch_bias)
        self.positions = nn.Parameter(torch.zeros(config.stored_positions or config.positions, config.width))
        self.pre_norm = nn.LayerNorm(config.width, config.norm_eps) if config.has_pre_norm else nn.Identity()
        self.layers = nn.ModuleList(TowerLayer(config) for _ in range(config.layers))
        self.post_norm = nn.LayerNorm(config.width, config.norm_eps) if config.has_post_norm else None
        self.projection = nn.Linear(config.width, config.projection, bias=False) if config.projection else None

    def forward(self, pixels: Tensor) -> Tensor:
        x = self._after(pixels, len(self.layers) + 1 + self.config.reads_layer)
        return x[:, 1:] if self.config.drops_first else x

    def pooled(self, pixels: Tensor) -> Tensor:
        """What each picture looks like, one vector: (N, 3, px, px) -> (N, D).

        The class token behind the last layer and its norm, projected to the width that pictures share with texts (CLIP,
        arXiv 2103.00020, section 2.4; what OpenFlamingo's `rices.py` compares), as far as norm and projection are
        published with the tower. Towers without a class token: the mean over the patches in its place.
        """
        x = self._after(pixels, len(self.layers))
        x = x[:, 0] if self.class_token is not None else x.mean(1)
        for step in (self.post_norm, self.projection):
            x = x if step is None else step(x)
        return x

    def _after(self, pixels: Tensor, layers: int) -> Tensor:
        """All tokens after so many layers."""
        x = self.patches(pixels).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            x = torch.cat((self.class_token.expand(len(x), 1, -1), x), 1)
        x = self.pre_norm(x + interpolated(self.positions, self.config.positions))
        for layer in self.layers[:layers]:
            x = layer(x)
        return x


def interpolated(positions: Tensor, count: int) -> Tensor:
    """A table of positions for `count` patches: a square grid, bicubic in float32 without antialiasing (Qwen-VL)."""
    if len(positions) == count:
        return positions
    stored, wanted = (math.isqrt(patches) for patches in (len(positions), count))
    grid = positions.float().view(1, stored, stored, -1).permute(0, 3, 1, 2)
    grid = nn.functional.interpolate(grid, size=(wanted, wanted), mode="bicubic", align_corners=False)
    return grid.permute(0, 2, 3, 1).flatten(0, 2).to(positions.dtype)
