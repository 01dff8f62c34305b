"""The feed-forward branches."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from flamingo_lab.config import Activation

ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "relu": F.relu, "silu": F.silu}


class MLP(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, width: int, inner: int, activation: Activation, *, has_bias: bool) -> None:
        super().__init__()
        self.up = nn.Linear(width, inner, bias=has_bias)
        self.down = nn.Linear(inner, width, bias=has_bias)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.down(self.activation(self.up(x)))


class GatedMLP(nn.Module):
    """Feed-forward with a multiplicative gate; SwiGLU where the activation is SiLU (arXiv 2002.05202)."""

    def __init__(self, width: int, inner: int, activation: Activation) -> None:
        super().__init__()
        self.gate = nn.Linear(width, inner, bias=False)
        self.up = nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.down(self.activation(self.gate(x)) * self.up(x))
