"""How a decoder knows where its tokens stand: rotary angles, linear biases, and which keys a token may see."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from flamingo_lab.config import Alibi, Rotary
from flamingo_lab.nn.attention import CAUSAL, Causal


class Places(NamedTuple):
    """Where the tokens of a forward pass stand.

    positions (B, T) int, counted over all tokens of a row so far; real (B, T) bool, False on padding, which stands behind
    a row's tokens, where none of them looks; None where there is none. prompts (B,) int: positions that each row's prompt
    takes, however long its answer has become; together (B,) int: positions up to which tokens share their places with
    experts, each one behind them being a step of its own. Either is all of the pass where it is None. noise (B, L, P, E):
    see `RouterNoise`, a table a row, None for none.
    """

    positions: Tensor
    real: Tensor | None = None
    prompts: Tensor | None = None
    together: Tensor | None = None
    noise: Tensor | None = None

    def are_together(self) -> Tensor:
        """Which of the tokens share places with experts, (B, T) bool: the real ones of what was asked."""
        inside = torch.ones_like(self.positions, dtype=torch.bool)
        if self.together is not None:
            inside = self.positions < self.together[:, None]
        return inside if self.real is None else inside & self.real

    def mask(self, window: int | None = None) -> Tensor | Causal | None:
        """What `attend` needs to know of a pass without memory, as little as possible; with a window, what is near enough."""
        tokens = self.positions.shape[1]
        if window is not None and tokens > window:
            return band(tokens, window, self.positions.device)
        return None if tokens == 1 else CAUSAL


def band(tokens: int, window: int, device: torch.device) -> Tensor:
    """(T, T) bool: each token sees itself and those before it that are near enough."""
    return torch.ones(tokens, tokens, dtype=torch.bool, device=device).tril().triu(1 - window)


class Rotation(NamedTuple):
    """Cosines and sines of each position's angles, each (B, 1, T, rotated width)."""

    cos: Tensor
    sin: Tensor


def rotation(places: Places, rotary: Rotary, head_width: int, dtype: torch.dtype) -> Rotation:
    """The rotation of each new token's position; computed in float32, returned in `dtype`."""
    rotated = int(head_width * rotary.fraction)
    exponents = torch.arange(0, rotated, 2, device=places.positions.device, dtype=torch.float32) / rotated
    base: float | Tensor = rotary.base
    if rotary.ntk_length is not None:
        stretched = rotary.base * ntk_factor(places, rotary.ntk_length) ** (rotated / (rotated - 2))
        base = stretched.float()[:, None, None, None]
    # By frequencies, as all authors have it: at far positions a division is rounded to other angles.
    angles = places.positions[:, None, :, None].float() / rotary.stretch * (1.0 / base**exponents)
    angles = torch.cat((angles, angles), -1)
    return Rotation(angles.cos().to(dtype), angles.sin().to(dtype))


def ntk_factor(places: Places, length: int) -> Tensor:
    """(B,) float64: each row's factor of dynamic NTK, from its prompt alone, so that cached keys stay right.

    1 up to `length` positions, then 3, 7, 15 ... whenever they have doubled (Qwen, modeling_qwen.py).
    """
    prompts = places.positions.amax(-1) + 1 if places.prompts is None else places.prompts
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


def slopes(alibi: Alibi, heads: int, share: tuple[int, int] = (0, 1)) -> Tensor:
    """(H,): how fast each head's bias falls with distance; `share`: see `Decoder`."""

    def plain(count: int) -> Tensor:
        return 2.0 ** (-alibi.max_bias * torch.arange(1, count + 1, dtype=torch.float32) / count)

    if alibi.slopes == "plain" or heads & (heads - 1) == 0:
        of_all = plain(heads)
    else:
        every = plain(1 << heads.bit_length())
        of_all = torch.cat((every[1::2], every[::2]))[:heads]
    part, parts = share
    return of_all.chunk(parts)[part]


def alibi_bias(queries: Tensor, keys: Tensor, slopes: Tensor) -> Tensor:
    """(B, H, T, S) float64: what is added to the scores of queries at (B, T) and keys at (B, S); slopes (H,).

    Falls with distance; whole numbers as large as these would be rounded in bfloat16.
    """
    distance = (keys[:, None] - queries[..., None])[:, None].double()
    return slopes.to(keys.device)[None, :, None, None] * distance
