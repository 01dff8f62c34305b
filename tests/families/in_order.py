"""Products whose sums are taken in one order on every processor: one term after the other, each by a fused multiply-add.

That is how oneDNN and MKL add on Intel's processors with AVX-512 where few terms are summed, and so how the goldens were made.
Elsewhere MKL adds in other orders.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class InOrder(TorchDispatchMode):
    """Within it, products in float32 are taken so; slow, for tiny models."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        taken = PRODUCTS.get(func)
        is_float32 = all(not isinstance(one, Tensor) or one.dtype == torch.float32 for one in args)
        return taken(*args) if taken is not None and is_float32 else func(*args, **(kwargs or {}))


def product(a: Tensor, b: Tensor) -> Tensor:
    """(..., M, K) by (..., K, N). A float64 holds the product of two float32 exactly."""
    wide, other = a.double(), b.double()
    found = torch.zeros((), dtype=torch.float64)
    for k in range(a.shape[-1]):
        found = (found + wide[..., k : k + 1] * other[..., k : k + 1, :]).float().double()
    return found.float()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    found = product(x.reshape(-1, x.shape[-1]), weight.T).view(*x.shape[:-1], -1)
    return found if bias is None else found + bias


PRODUCTS: Mapping[Any, Callable[..., Tensor]] = {
    aten.mm.default: product,
    aten.bmm.default: product,
    aten.matmul.default: product,
    aten.linear.default: linear,
    aten.addmm.default: lambda bias, a, b: product(a, b) + bias,
}
"""What a model's products are by the time that they are dispatched, with gradients and without."""
