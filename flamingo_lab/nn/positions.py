"""How a decoder knows where its tokens stand: rotary angles, linear biases, and which keys a token may see."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from flamingo_lab.config import Alibi, Rotary
from flamingo_lab.nn.attention import CAUSAL, Causal


class Places(NamedTuple):
    """Where the tokens of a forward pass stand among all tokens so far.

    positions (B, T) int, of the new tokens; keys (B, S) int, of all; real (B, S) bool, False on padding, None where there
    is none. A position counts the real tokens before it, so padding changes nothing.
    """

    positions: Tensor
    keys: Tensor
    real: Tensor | None

    @classmethod
    def of(cls, real: Tensor, new: int) -> Places:
        """The last `new` of all tokens. real (B, S) bool, False on padding."""
        keys = (real.cumsum(-1) - 1).clamp(min=0)
        return cls(keys[:, -new:], keys, None if bool(real.all()) else real)

    def sees(self, window: int | None = None) -> Tensor:
        """Which of all tokens a new one may attend to, (B or 1, T, S) bool; with a window, those near enough.

        Padding sees itself, so that no row of attention is empty; nothing sees padding.
        """
        new, length = self.positions.shape[1], self.keys.shape[1]
        before = length - new
        seen = torch.ones(1, new, length, dtype=torch.bool, device=self.keys.device).tril(before)
        if self.real is not None:
            own = torch.eye(new, length, dtype=torch.bool, device=self.keys.device).roll(before, -1)
            seen = (seen & self.real[:, None]) | own
        if window is not None:
            seen = seen & (self.positions[..., None] - self.keys[:, None] < window)
        return seen

    def mask(self, window: int | None = None) -> Tensor | Causal | None:
        """What `attend` needs to know, as little as possible."""
        is_far = window is not None and self.keys.shape[1] > window
        if self.real is not None or is_far:
            return self.sees(window)[:, None]
        new, length = self.positions.shape[1], self.keys.shape[1]
        if new == 1:
            return None
        return CAUSAL if new == length else self.sees()[:, None]


class Rotation(NamedTuple):
    """Cosines and sines of each position's angles, each (B, 1, T, rotated width)."""

    cos: Tensor
    sin: Tensor


def rotation(positions: Tensor, rotary: Rotary, head_width: int, dtype: torch.dtype) -> Rotation:
    """The rotation of each position. positions (B, T) int; computed in float32, returned in `dtype`."""
    rotated = int(head_width * rotary.fraction)
    exponents = torch.arange(0, rotated, 2, device=positions.device, dtype=torch.float32) / rotated
    angles = positions[:, None, :, None].float() / rotary.base**exponents
    angles = torch.cat((angles, angles), -1)
    return Rotation(angles.cos().to(dtype), angles.sin().to(dtype))


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Queries or keys (B, H, T, d), their first channels turned by their positions."""
    rotated = by.cos.shape[-1]
    turned, rest = x[..., :rotated], x[..., rotated:]
    first, second = turned.chunk(2, -1)
    turned = turned * by.cos + torch.cat((-second, first), -1) * by.sin
    return torch.cat((turned, rest), -1) if rest.shape[-1] else turned


def slopes(alibi: Alibi, heads: int) -> Tensor:
    """(H,): how fast each head's bias falls with distance."""

    def plain(count: int) -> Tensor:
        return 2.0 ** (-alibi.max_bias * torch.arange(1, count + 1, dtype=torch.float32) / count)

    if alibi.slopes == "plain" or heads & (heads - 1) == 0:
        return plain(heads)
    every = plain(1 << heads.bit_length())
    return torch.cat((every[1::2], every[::2]))[:heads]


def alibi_bias(places: Places, alibi: Alibi, heads: int) -> Tensor:
    """(B, H, T, S) float32: what is added to the scores, minus infinity where a token does not see.

    Falls with distance; whole numbers as large as these would be rounded in bfloat16.
    """
    distance = (places.keys[:, None] - places.positions[..., None])[:, None].float()
    bias = slopes(alibi, heads).to(places.keys.device)[None, :, None, None] * distance
    return bias.masked_fill(~places.sees()[:, None], -torch.inf)
