"""Float32 arithmetic that is the same on every processor, as far as it matters to the goldens.

Sums of products are taken one term after the other, each by a fused multiply-add. That is how oneDNN adds where few terms are
summed, and MKL on Intel's processors with AVX-512, and so how the goldens were made; elsewhere MKL adds in other orders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class InOrder(TorchDispatchMode):
    """Within it, products in float32 are taken so, and what else is `taken` otherwise; slow, for tiny models."""

    def __init__(self, taken: Mapping[Any, Callable[..., Tensor]] | None = None) -> None:
        super().__init__()
        self._taken = {**PRODUCTS, **(taken or {})}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        is_float32 = all(not isinstance(one, Tensor) or one.dtype == torch.float32 for one in args)
        return (self._taken.get(func, func) if is_float32 else func)(*args, **(kwargs or {}))


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


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """The float32 next to the true value, where vector code is some units in the last place away."""
    return functional.gelu(x.double(), approximate=approximate).float()


PRODUCTS: Mapping[Any, Callable[..., Tensor]] = {
    aten.mm.default: product,
    aten.bmm.default: product,
    aten.matmul.default: product,
    aten.linear.default: linear,
    aten.addmm.default: lambda bias, a, b: product(a, b) + bias,
}
"""What a model's products are by the time that they are dispatched, with gradients and without."""


def arithmetics() -> Iterator[AbstractContextManager[Any]]:
    """The processor's own, then those that do not depend on it (docs/decisions/0048-order-of-sums.md)."""
    yield nullcontext()
    yield InOrder()
    yield InOrder({aten.gelu.default: gelu})
