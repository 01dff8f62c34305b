"""OWL-ViT's picture side (arXiv 2205.06230): every patch of a picture gets a box and, for a query, a score."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flamingo_lab.config import Tower
from flamingo_lab.nn.vit import VisionTower

TINY = 1e-6
"""Added to a vector's length before it is divided by it."""

EDGE = 1e-4
"""Keeps the logarithms finite at a picture's edge."""


class BoxHead(nn.Module):
    """(P, D) -> (P, 4): what a patch's box differs by from its own place, before the sigmoid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, out) for out in (width, width, 4))

    def forward(self, x: Tensor) -> Tensor:
        for layer in list(self.layers)[:-1]:
            x = F.gelu(layer(x))
        return self.layers[-1](x)


class ClassHead(nn.Module):
    """How well each patch (P, D) answers a query (Q,): their cosine, shifted and scaled by the patch. Returns (P,)."""

    def __init__(self, width: int, query_width: int) -> None:
        super().__init__()
        self.to_query = nn.Linear(width, query_width)
        self.shift = nn.Linear(width, 1)
        self.scale = nn.Linear(width, 1)

    def forward(self, x: Tensor, query: Tensor) -> Tensor:
        cosine = (_unit(self.to_query(x)) * _unit(query)).sum(-1)
        return (cosine + self.shift(x)[..., 0]) * (F.elu(self.scale(x)[..., 0]) + 1)


class Detector(nn.Module):
    """The tower and its two heads. A query stands where the published model had a text's embedding."""

    def __init__(self, config: Tower, query_width: int) -> None:
        super().__init__()
        self.tower = VisionTower(config)
        self.norm = nn.LayerNorm(config.width, config.norm_eps)
        self.box_head = BoxHead(config.width)
        self.class_head = ClassHead(config.width, query_width)
        self.side = config.image_px // config.patch_px

    def embed(self, pixels: Tensor) -> Tensor:
        """Pixels (1, 3, px, px) -> patches (side * side, D), row by row, each times the class token."""
        tokens = self.tower(pixels)[0]
        if self.tower.post_norm is not None:
            tokens = self.tower.post_norm(tokens)
        return self.norm(tokens[1:] * tokens[:1])

    def scores(self, patches: Tensor, query: Tensor) -> Tensor:
        """(P,) in 0..1, float32."""
        return self.class_head(patches, query).float().sigmoid()

    def boxes(self, patches: Tensor) -> Tensor:
        """(P, 4) in 0..1 of the picture, float32: centre x and y, width, height."""
        return (self.box_head(patches).float() + self._places().to(patches.device)).sigmoid()

    def _places(self) -> Tensor:
        """(P, 4): a box of one patch's size at each patch's right lower corner, before the sigmoid."""
        along = torch.arange(1, self.side + 1) / self.side
        y, x = torch.meshgrid(along, along, indexing="ij")
        size = torch.full_like(x, 1 / self.side)
        places = torch.stack((x, y, size, size), -1).flatten(0, 1)
        return torch.log(places + EDGE) - torch.log1p(EDGE - places)


def _unit(x: Tensor) -> Tensor:
    return x / (torch.linalg.norm(x, dim=-1, keepdim=True) + TINY)
