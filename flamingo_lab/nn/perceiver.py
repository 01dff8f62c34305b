"""The perceiver resampler: any number of patches in, a fixed number of latents out (Flamingo, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flamingo_lab.config import Resampler
from flamingo_lab.nn.attention import Attention
from flamingo_lab.nn.mlp import MLP


class ResamplerLayer(nn.Module):
    """Latents attend to the patches and to themselves, then pass a feed-forward branch."""

    def __init__(self, config: Resampler) -> None:
        super().__init__()
        self.patches_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.latents_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.attention = Attention(
            config.width,
            config.heads,
            head_width=config.head_width,
            query_norm=nn.LayerNorm(config.head_width, config.norm_eps) if config.has_qk_norms else None,
            key_norm=nn.LayerNorm(config.head_width, config.norm_eps) if config.has_qk_norms else None,
        )
        self.mlp_norm = nn.LayerNorm(config.width, config.norm_eps)
        self.mlp = MLP(config.width, config.mlp_width, config.activation, has_bias=False)

    def forward(self, latents: Tensor, patches: Tensor) -> Tensor:
        queries = self.latents_norm(latents)
        latents = latents + self.attention(queries, torch.cat((self.patches_norm(patches), queries), 1))
        return latents + self.mlp(self.mlp_norm(latents))


class PerceiverResampler(nn.Module):
    """Patches (N, P, D) -> latents (N, L, D out), each picture by itself."""

    def __init__(self, config: Resampler) -> None:
        super().__init__()
        width = config.width
        self.input_norm = nn.LayerNorm(width, config.norm_eps) if config.has_input_norm else None
        self.place = nn.Parameter(torch.zeros(width)) if config.has_place else None
        self.latents = nn.Parameter(torch.zeros(config.latents, config.width))
        self.layers = nn.ModuleList(ResamplerLayer(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        self.out = nn.Linear(width, config.projects_to) if config.projects_to else None

    def forward(self, patches: Tensor) -> Tensor:
        if self.input_norm is not None:
            patches = self.input_norm(patches)
        if self.place is not None:
            patches = patches + self.place
        latents = self.latents.expand(len(patches), -1, -1)
        for layer in self.layers:
            latents = layer(latents, patches)
        latents = self.norm(latents)
        return latents if self.out is None else self.out(latents)
