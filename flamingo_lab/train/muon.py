"""Muon: momentum whose matrices are made orthogonal before they are applied.

After Keller Jordan, https://kellerjordan.github.io/posts/muon/ (coefficients, Nesterov momentum, the rate's factor). As
`torch.optim.Muon`, but for two things: it iterates in float32, because a CPU that emulates bfloat16 spends most of a training
step there, and matrices of one shape pass together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic whose repetition brings all singular values near one."""

STEPS = 5
MOMENTUM = 0.95


def orthogonal(matrices: Tensor) -> Tensor:
    """Matrices (N, R, C) with their singular values brought near one, by Newton-Schulz iteration."""
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonal(matrices.mT).mT
    a, b, c = COEFFICIENTS
    held = matrices / matrices.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(STEPS):
        gram = held @ held.mT
        held = torch.baddbmm(held, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), held, beta=a)
    return held


class Muon(Optimizer):
    """Of matrices (R, C) alone. Each step also shrinks them by `lr * weight_decay`."""

    def __init__(self, params: Iterable[dict[str, Any]], *, weight_decay: float) -> None:
        super().__init__(params, {"lr": 0.0, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Apply the gradients."""
        for group in self.param_groups:
            alike = sorted(group["params"], key=lambda parameter: parameter.shape)
            for (rows, columns), same in groupby(alike, key=lambda parameter: parameter.shape):
                held = list(same)
                rate = group["lr"] * math.sqrt(max(1.0, rows / columns))
                for parameter, update in zip(held, orthogonal(self._momenta(held)), strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)

    def _momenta(self, parameters: list[nn.Parameter]) -> Tensor:
        """Nesterov momenta (N, R, C)."""
        momenta: list[Tensor] = []
        for parameter in parameters:
            assert parameter.grad is not None  # every matrix takes part in every step
            state = self.state[parameter]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            state["momentum_buffer"].lerp_(parameter.grad, 1 - MOMENTUM)
            momenta.append(parameter.grad.lerp(state["momentum_buffer"], MOMENTUM))
        return torch.stack(momenta)
