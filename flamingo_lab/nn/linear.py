"""The product with a layer's matrix, by whichever way is the faster one."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., K), weight (N, K), bias (N,) -> (..., N).

    One row in bfloat16 on a CPU, as decoding one sequence has it, is read at the memory's rate by a matrix-vector product, and at
    four fifths of it by the general one (benchmarks/README.md).
    """
    is_row = x.dtype == torch.bfloat16 and x.numel() == weight.shape[1] and x.device.type == "cpu"
    if not is_row or torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    row = torch.mv(weight, x.reshape(-1)).view(*x.shape[:-1], -1)
    return row if bias is None else row + bias


class Linear(nn.Linear):
    """`torch.nn.Linear` by way of `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        return linear(input, self.weight, self.bias)
