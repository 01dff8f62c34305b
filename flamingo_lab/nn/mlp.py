"""The feed-forward branches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flamingo_lab.config import Activation
from flamingo_lab.nn.linear import Linear


def quick_gelu(x: Tensor) -> Tensor:
    """OpenAI CLIP's stand-in for the GELU."""
    return x * torch.sigmoid(1.702 * x)


def relu_squared(x: Tensor) -> Tensor:
    """Squared ReLU (arXiv 2109.08668)."""
    return F.relu(x).square()


ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "quick_gelu": quick_gelu,
    "relu": F.relu,
    "relu_squared": relu_squared,
    "silu": F.silu,
}


class MLP(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, width: int, inner: int, activation: Activation, *, has_bias: bool) -> None:
        super().__init__()
        self.up = Linear(width, inner, bias=has_bias)
        self.down = Linear(inner, width, bias=has_bias)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.down(self.activation(self.up(x)))


class GatedMLP(nn.Module):
    """Feed-forward with a multiplicative gate; SwiGLU where the activation is SiLU (arXiv 2002.05202)."""

    def __init__(self, width: int, inner: int, activation: Activation, *, has_bias: bool = False) -> None:
        super().__init__()
        self.gate = Linear(width, inner, bias=has_bias)
        self.up = Linear(width, inner, bias=has_bias)
        self.down = Linear(inner, width, bias=has_bias)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.down(self.activation(self.gate(x)) * self.up(x))


def feed_forward(
    width: int, inner: int, activation: Activation, *, is_gated: bool, has_bias: bool = False
) -> MLP | GatedMLP:
    """The branch of this kind."""
    kind = GatedMLP if is_gated else MLP
    return kind(width, inner, activation, has_bias=has_bias)
