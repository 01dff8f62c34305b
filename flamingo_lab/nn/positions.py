"""How a decoder knows where its tokens stand: rotary angles, linear biases, and which keys a token may see."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from flamingo_lab.config import Alibi, Rotary
from flamingo_lab.nn.attention import CAUSAL, Causal


class Places(NamedTuple):
    """Where the tokens of a forward pass stand among all tokens so far.

    positions (B, T) int, of the new tokens; keys (B, S) int, of all; real (B, S) bool, False on padding, None where there
    is none. A position counts the real tokens before it, so padding changes nothing. prompts (B,) int: positions that each
    row's prompt takes, however long its answer has become; together (B,) int: positions up to which tokens share their
    places with experts, each one behind them being a step of its own. Either is all so far where it is None. noise
    (B, L, P, E): see `RouterNoise`, a table a row, None for none.
    """

    positions: Tensor
    keys: Tensor
    real: Tensor | None
    prompts: Tensor | None = None
    together: Tensor | None = None
    noise: Tensor | None = None

    @classmethod
    def of(
        cls,
        real: Tensor,
        new: int,
        prompts: Tensor | None = None,
        first: Tensor | None = None,
        together: Tensor | None = None,
        noise: Tensor | None = None,
    ) -> Places:
        """The last `new` of all tokens. real (B, S) bool, False on padding; first (B,) int: of a row's first token."""
        keys = (real.cumsum(-1) - 1).clamp(min=0)
        if first is not None:
            keys = keys + first[:, None]
        return cls(keys[:, -new:], keys, None if bool(real.all()) else real, prompts, together, noise)

    def are_together(self) -> Tensor:
        """Which of the new tokens share places with experts, (B, T) bool: the real ones of what was asked."""
        inside = torch.ones_like(self.positions, dtype=torch.bool)
        if self.together is not None:
            inside = self.positions < self.together[:, None]
        return inside if self.real is None else inside & self.real[:, -inside.shape[1] :]

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


def rotation(places: Places, rotary: Rotary, head_width: int, dtype: torch.dtype) -> Rotation:
    """The rotation of each new token's position; computed in float32, returned in `dtype`."""
    rotated = int(head_width * rotary.fraction)
    exponents = torch.arange(0, rotated, 2, device=places.keys.device, dtype=torch.float32) / rotated
    base: float | Tensor = rotary.base
    if rotary.ntk_length is not None:
        stretched = rotary.base * ntk_factor(places, rotary.ntk_length) ** (rotated / (rotated - 2))
        base = stretched.float()[:, None, None, None]
    # By frequencies, as all authors have it: at far positions a division is rounded to other angles.
    angles = places.positions[:, None, :, None].float() * (1.0 / base**exponents)
    angles = torch.cat((angles, angles), -1)
    return Rotation(angles.cos().to(dtype), angles.sin().to(dtype))


def ntk_factor(places: Places, length: int) -> Tensor:
    """(B,) float64: each row's factor of dynamic NTK, from its prompt alone, so that cached keys stay right.

    1 up to `length` positions, then 3, 7, 15 ... whenever they have doubled (Qwen, modeling_qwen.py).
    """
    prompts = places.keys.amax(-1) + 1 if places.prompts is None else places.prompts
    doublings = (prompts.double() / length).log2().ceil().clamp(min=0)
    return 2 * 2**doublings - 1


def log_n(places: Places, length: int, dtype: torch.dtype) -> Tensor:
    """(B, 1, T, 1): what queries are multiplied by, the logarithm of their position, from 1, to the base `length`."""
    scale = (places.positions + 1).float().log() / math.log(length)
    return scale.clamp(min=1)[:, None, :, None].to(dtype)


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
