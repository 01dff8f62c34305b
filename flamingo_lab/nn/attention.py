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
    """Scaled dot-product attention. queries (B, H, T, d); keys and values (B, G, S, d), each for H / G query heads.

    mask: broadcast to (B, H, T, S); bool, with at least one key in every row, or a float that is added to the scores.
    """
    is_grouped = keys.shape[1] != queries.shape[1]
    if not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, enable_gqa=is_grouped)
    # Spelt out under autograd: the fused kernel's CPU backward took half of a training step in bfloat16.
    if is_grouped:
        keys, values = (part.repeat_interleave(queries.shape[1] // keys.shape[1], 1) for part in (keys, values))
    scores = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min) if mask.dtype == torch.bool else scores + mask
    return scores.softmax(-1) @ values


class Attention(nn.Module):
    """Projections around `attend`. Queries come from one sequence, keys and values from the same or another one.

    `query_norm` and `key_norm` act on each head after the split, or on the whole width before it (`norms_width`).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        head_width: int | None = None,
        kv_heads: int | None = None,
        kv_width: int | None = None,
        has_bias: bool = False,
        has_out_bias: bool | None = None,
        query_norm: nn.Module | None = None,
        key_norm: nn.Module | None = None,
        norms_width: bool = False,
    ) -> None:
        super().__init__()
        self.head_width = head_width or width // heads
        inner, kv_inner = heads * self.head_width, (kv_heads or heads) * self.head_width
        self.q = nn.Linear(width, inner, bias=has_bias)
        self.k = nn.Linear(kv_width or width, kv_inner, bias=has_bias)
        self.v = nn.Linear(kv_width or width, kv_inner, bias=has_bias)
        self.out = nn.Linear(inner, width, bias=has_bias if has_out_bias is None else has_out_bias)
        self.query_norm = query_norm
        self.key_norm = key_norm
        self._norms_width = norms_width

    def queries(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, d)."""
        return self._split(self.q(x), self.query_norm)

    def keys_values(self, x: Tensor, placed: Tensor | None = None) -> Heads:
        """(B, S, D of the other sequence) -> keys and values (B, G, S, d); keys of `placed`, where x lacks positions."""
        return Heads(self._split(self.k(x if placed is None else placed), self.key_norm), self._split(self.v(x), None))

    def merge(self, attended: Tensor) -> Tensor:
        """(B, H, T, d) -> (B, T, D)."""
        return self.out(attended.transpose(1, 2).flatten(-2))

    def forward(self, x: Tensor, other: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """x (B, T, D) attends to `other` (B, S, ...), itself by default. Returns (B, T, D)."""
        heads = self.keys_values(x if other is None else other)
        return self.merge(attend(self.queries(x), heads.keys, heads.values, mask))

    def _split(self, x: Tensor, norm: nn.Module | None) -> Tensor:
        """(B, T, H * d) -> (B, H, T, d), normalised before or after."""
        if norm is not None and self._norms_width:
            x = norm(x)
        heads = x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        return heads if norm is None or self._norms_width else norm(heads)
