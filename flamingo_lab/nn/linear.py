"""The product with a layer's matrix, by whichever way is the faster one."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LARGE = 2**22
"""Multiplications from which on a float32 product may go through oneDNN, whose calls cost more than others."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., K), weight (N, K), bias (N,) -> (..., N).

    Two ways are faster than torch's own on a CPU, where no gradient is wanted (benchmarks/README.md), each on some
    processors: one row in bfloat16, as decoding one sequence has it, by a matrix-vector product, and large products in
    float32 by oneDNN.
    """
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    if x.dtype == torch.bfloat16 and x.numel() == weight.shape[1] and not is_onednn_ahead():
        row = torch.mv(weight, x.reshape(-1)).view(*x.shape[:-1], -1)
        return row if bias is None else row + bias
    if x.dtype == torch.float32 and x.numel() * len(weight) >= LARGE and is_onednn_ahead():
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


@cache
def is_onednn_ahead() -> bool:
    """Whether oneDNN multiplies faster here than MKL, whose best kernels are for Intel's processors."""
    processor = getattr(torch.cpu, "get_capabilities", dict)()
    is_other = "AMD" in str(processor.get("cpu_name")) and bool(processor.get("avx512_f"))
    return is_other and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Linear(nn.Linear):
    """`torch.nn.Linear` by way of `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        return linear(input, self.weight, self.bias)
