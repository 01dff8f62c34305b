"""Rotary position embedding (arXiv 2104.09864), in the half-rotation layout of LLaMA's published weights."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Rotation(NamedTuple):
    """Cosines and sines of each position's angles, each (B, 1, T, head width)."""

    cos: Tensor
    sin: Tensor


def rotation(positions: Tensor, head_width: int, base: float, dtype: torch.dtype) -> Rotation:
    """The rotation of each position. positions (B, T) int; computed in float32, returned in `dtype`."""
    exponents = torch.arange(0, head_width, 2, device=positions.device, dtype=torch.float32) / head_width
    angles = positions[:, None, :, None].float() / base**exponents
    angles = torch.cat((angles, angles), -1)
    return Rotation(angles.cos().to(dtype), angles.sin().to(dtype))


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Queries or keys (B, H, T, d), turned by their positions."""
    first, second = x.chunk(2, -1)
    return x * by.cos + torch.cat((-second, first), -1) * by.sin
