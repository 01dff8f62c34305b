"""Gated cross-attention: what lets a frozen decoder look at pictures (Flamingo, section 3.2 and figure 4)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from flamingo_lab.config import Cross
from flamingo_lab.nn.attention import Attention, Heads, attend
from flamingo_lab.nn.mlp import feed_forward
from flamingo_lab.nn.norms import RMSNorm, norm


class View(NamedTuple):
    """Which picture tokens each text token may attend to.

    mask (B, 1, T, S) bool over the S picture tokens of a row, True throughout where a token sees none; sees (B, T, 1)
    bool: whether there is any.
    """

    mask: Tensor
    sees: Tensor

    @classmethod
    def of(cls, sees: Tensor, tokens_per_image: int) -> View:
        """From sees (B, T, I) bool, image by image."""
        any_seen = sees.any(-1, keepdim=True)
        return cls((sees | ~any_seen).repeat_interleave(tokens_per_image, -1)[:, None], any_seen)


class GatedCrossAttention(nn.Module):
    """A tanh-gated look at the pictures, then a tanh-gated feed-forward branch, each added to the text.

    A token that sees no picture takes nothing from the first branch; the second one acts on every token.
    """

    def __init__(self, width: int, join: Cross) -> None:
        super().__init__()
        shape = (1,) if join.gate == "scalar" else (1, 1, width)
        self.attention_gate = nn.Parameter(torch.zeros(shape))
        self.mlp_gate = nn.Parameter(torch.zeros(shape))
        self.attention_norm = norm(join.norm, width, join.norm_eps)
        self.attention = Attention(
            width,
            join.heads,
            head_width=join.head_width,
            kv_width=join.kv_width,
            query_norm=RMSNorm(join.head_width, join.norm_eps) if join.has_qk_norms else None,
            key_norm=RMSNorm(join.head_width, join.norm_eps) if join.has_qk_norms else None,
        )
        self.mlp_norm = norm(join.norm, width, join.norm_eps)
        self.mlp = feed_forward(width, join.mlp_width, join.activation, is_gated=join.is_gated)

    def forward(self, text: Tensor, pictures: Heads | None, view: View) -> Tensor:
        """The text after both branches, (B, T, D).

        text (B, T, D); pictures: keys and values (B, H, S, d) made by `attention.keys_values`, None where no row has any.
        """
        if pictures is not None:
            queries = self.attention.queries(self.attention_norm(text))
            seen = self.attention.merge(attend(queries, pictures.keys, pictures.values, view.mask))
            text = text + self.attention_gate.tanh() * torch.where(view.sees, seen, 0.0)
        return text + self.mlp_gate.tanh() * self.mlp(self.mlp_norm(text))
