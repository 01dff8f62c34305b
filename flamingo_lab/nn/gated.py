"""Gated cross-attention: what lets a frozen decoder look at pictures (Flamingo, section 3.2 and figure 4)."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from flamingo_lab.config import Cross
from flamingo_lab.nn.attention import Attention
from flamingo_lab.nn.mlp import feed_forward
from flamingo_lab.nn.norms import RMSNorm, norm


class Looking(Protocol):
    """Pictures that the tokens of a pass may look at."""

    def attend(self, block: int, queries: Tensor) -> Tensor:
        """What the tokens' queries (B, H, T, d) see of their pictures; zero for a token without any."""
        ...


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

    def forward(self, text: Tensor, block: int, pictures: Looking | None) -> Tensor:
        """The text after both branches, (B, T, D).

        text (B, T, D); pictures: see `Looking`, None where no row has any; block: which of the gated blocks this one is.
        """
        if pictures is not None:
            seen = pictures.attend(block, self.attention.queries(self.attention_norm(text)))
            text = text + self.attention_gate.tanh() * self.attention.merge(seen)
        return text + self.mlp_gate.tanh() * self.mlp(self.mlp_norm(text))
