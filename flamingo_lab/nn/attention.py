"""Multi-head attention: one module for the tower, the resampler, the decoder and the gated blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flamingo_lab.nn.linear import Linear


class Heads(NamedTuple):
    """Keys and values split into heads, each (B, H, S, head width)."""

    keys: Tensor
    values: Tensor


Causal = Literal["causal"]
CAUSAL: Final = "causal"
"""The mask of sequences of one length without padding: a token sees itself and all before it."""


def attend(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | Causal | None) -> Tensor:
    """Scaled dot-product attention. queries (B, H, T, d); keys and values (B, G, S, d), each for H / G query heads.

    mask: broadcast to (B, H, T, S); bool, with at least one key in every row, or a float that is added to the scores;
    None where all is seen. A float is added in its own dtype where that is the wider one: beside a bias of minus hundreds
    (ALiBi) few of a score's bits would be left.
    """
    is_biased = isinstance(mask, Tensor) and mask.dtype != torch.bool
    if not torch.is_grad_enabled() and not is_biased:
        given, is_causal = (None, True) if isinstance(mask, str) else (mask, False)
        is_grouped = keys.shape[1] != queries.shape[1]
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=given, is_causal=is_causal, enable_gqa=is_grouped
        )
    # Spelt out under autograd: the fused kernel's CPU backward took half of a training step in bfloat16.
    keys, values = _for_each_query(queries, keys), _for_each_query(queries, values)
    return _scores(queries, keys, mask).softmax(-1).to(values.dtype) @ values


class Part(NamedTuple):
    """Attention to some of the keys: what is seen (B, H, T, d), and the logarithm of the softmax's sum (B, H, T) float32."""

    seen: Tensor
    weight: Tensor


def attend_to_part(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | Causal | None) -> Part:
    """`attend` with what is needed to join it to attention to other keys."""
    is_biased = isinstance(mask, Tensor) and mask.dtype != torch.bool
    if queries.device.type == "cpu" and not is_biased:
        given = None if mask is None or isinstance(mask, str) else _added(mask, queries.dtype)
        return Part(*_FUSED(queries, keys, values, is_causal=isinstance(mask, str), attn_mask=given))
    keys, values = _for_each_query(queries, keys), _for_each_query(queries, values)
    scores = _scores(queries, keys, mask)
    weight = scores.logsumexp(-1)
    return Part((scores - weight[..., None]).exp().to(values.dtype) @ values, weight.float())


def join(parts: Sequence[Part]) -> Tensor:
    """Attention to all keys of the parts, (B, H, T, d), as in cascade inference (Hydragen, arXiv 2402.05099).

    A part that a query sees nothing of has weight minus infinity there.
    """
    shares = torch.stack([part.weight for part in parts]).softmax(0)
    whole = parts[0].seen * shares[0, ..., None]
    for part, share in zip(parts[1:], shares[1:], strict=True):
        whole = torch.addcmul(whole, part.seen.float(), share[..., None])
    return whole.to(parts[0].seen.dtype)


_FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
"""The CPU's kernel behind `scaled_dot_product_attention`, which keeps the softmax's sums to itself."""


def _scores(queries: Tensor, keys: Tensor, mask: Tensor | Causal | None) -> Tensor:
    """(B, H, T, S), masked; in a bias' dtype where that is wider."""
    scores = queries @ keys.transpose(-2, -1) * queries.shape[-1] ** -0.5
    if isinstance(mask, str):
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is None:
        return scores
    if mask.dtype == torch.bool:
        return scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores + mask


def _for_each_query(queries: Tensor, heads: Tensor) -> Tensor:
    """Keys or values (B, G, S, d) as often as queries (B, H, T, d) have heads."""
    times = queries.shape[1] // heads.shape[1]
    return heads if times == 1 else heads.repeat_interleave(times, 1)


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """A bool mask as what is added to the scores."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, -torch.inf)


class Attention(nn.Module):
    """Projections around `attend`. Queries come from one sequence, keys and values from the same or another one.

    `query_norm` and `key_norm` act on each head after the split, or on the whole width before it (`norms_width`). `limit`:
    what the projections are cut to, on either side of zero.
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
        limit: float | None = None,
    ) -> None:
        super().__init__()
        self.head_width = head_width or width // heads
        inner, kv_inner = heads * self.head_width, (kv_heads or heads) * self.head_width
        self.q = Linear(width, inner, bias=has_bias)
        self.k = Linear(kv_width or width, kv_inner, bias=has_bias)
        self.v = Linear(kv_width or width, kv_inner, bias=has_bias)
        self.out = Linear(inner, width, bias=has_bias if has_out_bias is None else has_out_bias)
        self.query_norm = query_norm
        self.key_norm = key_norm
        self._norms_width = norms_width
        self._limit = limit

    def queries(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, H, T, d)."""
        return self._split(self.q(x), self.query_norm)

    def keys_values(self, x: Tensor, values: Tensor | None = None) -> Heads:
        """(B, S, D of the other sequence) -> keys and values (B, G, S, d); `values` where they come from other tokens."""
        return Heads(self._split(self.k(x), self.key_norm), self._split(self.v(x if values is None else values), None))

    def merge(self, attended: Tensor) -> Tensor:
        """(B, H, T, d) -> (B, T, D)."""
        return self.out(attended.transpose(1, 2).flatten(-2))

    def forward(self, x: Tensor, other: Tensor | None = None, mask: Tensor | Causal | None = None) -> Tensor:
        """x (B, T, D) attends to `other` (B, S, ...), itself by default. Returns (B, T, D)."""
        heads = self.keys_values(x if other is None else other)
        return self.merge(attend(self.queries(x), heads.keys, heads.values, mask))

    def _split(self, x: Tensor, norm: nn.Module | None) -> Tensor:
        """(B, T, H * d) -> (B, H, T, d), cut to the limit, then normalised before or after."""
        if self._limit is not None:
            x = x.clamp(-self._limit, self._limit)
        if norm is not None and self._norms_width:
            x = norm(x)
        heads = x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)
        return heads if norm is None or self._norms_width else norm(heads)
