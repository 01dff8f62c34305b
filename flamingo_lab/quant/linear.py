"""A linear layer whose matrix is quantised, and what multiplies with it on each kind of device.

On a CPU there is no good kernel but one, for few rows in bfloat16 (benchmarks/reports/quantised.md); everywhere else some rows of
the matrix at a time become floats again, which costs time and little memory. On CUDA torchao's tensors choose the kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flamingo_lab.quant import GROUP
from flamingo_lab.quant.forms import Packed, dequantise, empty

FEW = 16
"""Rows up to which the CPU's int8 kernel is the faster way."""

WHOLE = 64
"""Multiples to which a matrix has to come for that kernel, which reads beyond its end otherwise."""

BLOCK_BYTES = 4 * 2**20
"""Of a matrix in float32 at a time, so that it is read from the cache into which it was written."""

Kernel = Callable[[Tensor], Tensor]


class QuantisedLinear(nn.Module):
    """In the place of a linear layer, whose bias it takes over. Both tensors of the matrix are parameters: see `Packed`.

    Raises `ValueError` for a matrix of another shape than the layer's.
    """

    def __init__(self, whole: nn.Linear, packed: Packed, form: str, device: torch.device) -> None:
        super().__init__()
        self.form = form
        self.in_features, self.out_features = whole.in_features, whole.out_features
        expected = empty(self.out_features, self.in_features, form, "meta")
        if any(one.shape != room.shape or one.dtype != room.dtype for one, room in zip(packed, expected, strict=True)):
            raise ValueError(f"is {list(packed.weight.shape)} in {form}; {list(expected.weight.shape)} is expected")
        is_tiled = device.type == "cuda" and form == "int4"
        weight, scales = tiles(packed, self.in_features, device) if is_tiled else packed
        self.weight = nn.Parameter(weight.to(device), requires_grad=False)
        self.scales = nn.Parameter(scales.to(device), requires_grad=False)
        self.bias: nn.Parameter | None = whole.bias
        self._multiply: Kernel = self._through_torchao() if device.type == "cuda" else self._on_cpu
        is_whole = not (self.in_features % WHOLE or self.out_features % WHOLE)
        self._suits_kernel = form == "int8" and is_whole and has_kernel()

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N), in the dtype of x."""
        y = self._multiply(x.flatten(0, -2)).view(*x.shape[:-1], self.out_features)
        return y if self.bias is None else y + self.bias

    def _on_cpu(self, x: Tensor) -> Tensor:
        if self._suits_kernel and x.dtype == torch.bfloat16 and 0 < len(x) <= FEW:
            return torch.ops.aten._weight_int8pack_mm(x.contiguous(), self.weight, self.scales)
        out = x.new_empty(len(x), self.out_features)
        wide = x.float()
        rows = max(1, BLOCK_BYTES // (4 * self.in_features))
        for first in range(0, self.out_features, rows):
            own = slice(first, first + rows)
            block = dequantise(Packed(self.weight[own], self.scales[own]), self.in_features, self.form)
            out[:, own] = F.linear(wide, block)
        return out

    def _through_torchao(self) -> Kernel:
        from torchao.quantization import Int4TilePackedTo4dTensor, Int8Tensor

        shape = torch.Size((self.out_features, self.in_features))
        if self.form == "int4":
            matrix = Int4TilePackedTo4dTensor(self.weight.data, self.scales.data, [1, GROUP], shape)
            return lambda x: F.linear(x, matrix)
        scales = self.scales.data[:, None]
        return lambda x: F.linear(x, Int8Tensor(self.weight.data, scales, [1, self.in_features], x.dtype))


def tiles(packed: Packed, columns: int, device: torch.device) -> Packed:
    """An int4 matrix (N, columns) as the GPU's kernel reads it: weight in tiles, scales (groups, N, 2), both padded."""
    rows = len(packed.weight)
    down, right = -rows % TILE_ROWS, -columns % TILE_COLUMNS
    weight = F.pad(packed.weight, (0, (columns + right) // 2 - packed.weight.shape[1], 0, down)).to(device)
    scales = F.pad(packed.scales, (0, 0, 0, (columns + right) // GROUP - packed.scales.shape[1], 0, down))
    converted = torch.ops.aten._convert_weight_to_int4pack(weight, TILE_DEPTH)
    return Packed(converted, scales.transpose(0, 1).contiguous())


TILE_ROWS, TILE_COLUMNS, TILE_DEPTH = 8, 1024, 8
"""Multiples to which torchao's Int4TilePackedTo4dTensor pads a matrix, and its inner_k_tiles."""


@lru_cache
def has_kernel() -> bool:
    """Whether this build of torch multiplies bfloat16 with int8 on the CPU."""
    x, weight = torch.ones(1, WHOLE, dtype=torch.bfloat16), torch.ones(WHOLE, WHOLE, dtype=torch.int8)
    try:
        found = torch.ops.aten._weight_int8pack_mm(x, weight, x.new_ones(WHOLE))
    except (RuntimeError, AttributeError):
        return False
    return bool((found == WHOLE).all())


def place(model: nn.Module, name: str, packed: Packed, form: str, device: torch.device) -> None:
    """Make a quantised matrix the one of the linear layer whose weight has this name."""
    path = name.removesuffix(".weight")
    owner, _, own = path.rpartition(".")
    layer = model.get_submodule(path)
    assert isinstance(layer, nn.Linear), f"{path} is no linear layer"
    setattr(model.get_submodule(owner), own, QuantisedLinear(layer, packed, form, device))
