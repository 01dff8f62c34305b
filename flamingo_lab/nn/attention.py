"""Multi-head attention: one module for the tower, the resampler, the decoder and the gated blocks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Heads(NamedTuple):
    """Keys and values split into heads, each (B, H, S, head width)."""

    keys: Tensor
    values: Tensor


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention. queries (B, H, T, d), keys and values (B, H, S, d), mask bool, broadcast to (B, H, T, S).

    A query whose mask row is empty gives the mean of all values instead of NaN; callers drop such rows.
    """
    if mask is not None:
        mask = mask | ~mask.any(-1, keepdim=True)
    if not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    # Spelt out under autograd: the fused kernel's CPU backward took half of a training step in bfloat16.
    scores = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(-1) @ values


class Attention(nn.Module):
    """Projections around `attend`. Queries come from one sequence, keys and values from the same or another one.

    `query_norm` and `key_norm` act on each head after the split.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        head_width: int | None = None,
        kv_width: int | None = None,
        has_bias: bool = False,
        query_norm: nn.Module | None = None,
        key_norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.head_width = head_width or width // heads
        inner = heads * self.head_width
        self.q = nn.Linear(width, inner, bias=has_bias)
        self.k = nn.Linear(kv_width or width, inner, bias=has_bias)
        self.v = nn.Linear(kv_width or width, inner, bias=has_bias)
        self.out = nn.Linear(inner, width, bias=has_bias)
        self.query_norm = query_norm
        self.key_norm = key_norm

    def split(self, x: Tensor) -> Tensor:
        """(B, T, H * d) -> (B, H, T, d)."""
        return x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)

    def queries(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, d)."""
        queries = self.split(self.q(x))
        return self.query_norm(queries) if self.query_norm else queries

    def keys_values(self, x: Tensor) -> Heads:
        """(B, S, D of the other sequence) -> keys and values (B, H, S, d)."""
        keys = self.split(self.k(x))
        return Heads(self.key_norm(keys) if self.key_norm else keys, self.split(self.v(x)))

    def merge(self, attended: Tensor) -> Tensor:
        """(B, H, T, d) -> (B, T, D)."""
        return self.out(attended.transpose(1, 2).flatten(-2))

    def forward(self, x: Tensor, other: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """x (B, T, D) attends to `other` (B, S, ...), itself by default. Returns (B, T, D)."""
        heads = self.keys_values(x if other is None else other)
        return self.merge(attend(self.queries(x), heads.keys, heads.values, mask))
