"""Normalisation layers that torch lacks in the form the published weights expect."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flamingo_lab.config import Norm


class RMSNorm(nn.Module):
    """Root-mean-square norm (arXiv 1910.07467), in float32 whatever the input, as LLaMA computes it.

    The normalised value is rounded to the weight's dtype before the product, the order of LLaMA's own code.
    """

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        wide = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(self.weight.dtype)


def norm(kind: Norm, width: int, eps: float) -> nn.Module:
    """The norm of this kind."""
    if kind == "rms":
        return RMSNorm(width, eps)
    return nn.LayerNorm(width, eps, bias=kind == "layer")
