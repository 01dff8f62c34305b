"""The product with a layer's matrix, by whichever way is the faster one."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LARGE = 2**22
"""Multiplications from which on a float32 product may go through oneDNN, whose calls cost more than others."""

FEW = 4
"""Rows of which oneDNN's kernel reads a packed matrix faster than that of one row, by a tenth."""

PACKED_FOR = 64
"""Rows that oneDNN is told of when it packs a matrix; with 1 or 1024 it multiplies about as fast."""


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., K), weight (N, K), bias (N,) -> (..., N).

    Two ways are faster than torch's own on a CPU, where no gradient is wanted (benchmarks/README.md), each on some
    processors: one row in bfloat16, as decoding one sequence has it, by a matrix-vector product, and large products in
    float32 by oneDNN. A weight may be `packed`; nothing is learnt through it.
    """
    if weight.is_mkldnn:
        few = x.reshape(1, -1).expand(FEW, -1) if x.numel() == weight.shape[1] else x
        found = torch.ops.mkldnn._linear_pointwise(few, weight, bias, "none", [], "")
        return found if few is x else found[0].view(*x.shape[:-1], -1)
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    if x.dtype == torch.bfloat16 and x.numel() == weight.shape[1] and not is_onednn_ahead():
        row = torch.mv(weight, x.reshape(-1)).view(*x.shape[:-1], -1)
        return row if bias is None else row + bias
    if x.dtype == torch.float32 and x.numel() * len(weight) >= LARGE and is_onednn_ahead():
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def packed(weight: Tensor) -> Tensor:
    """A matrix (N, K) as oneDNN lays it out to multiply with it, of the same shape; `to_dense()` gives it back.

    Plain ones in bfloat16 are laid out anew for each product, which takes longer than the product where x has few rows.
    """
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), PACKED_FOR)


def is_packed_best(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether matrices of this kind are better packed once and for all."""
    return device.type == "cpu" and dtype == torch.bfloat16 and is_onednn_ahead()


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
