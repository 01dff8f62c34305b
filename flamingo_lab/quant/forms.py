"""The arithmetic: a matrix to integers with scales, and back.

int8: a scale a row, symmetric. int4: a scale and a zero point for every `GROUP` weights of a row, as the kernels behind
torchao take them: weight = (integer - 8) * scale + zero. Scales are bfloat16 and integers are chosen for them as rounded.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from flamingo_lab.quant import GROUP

ROWS = 256
"""Of a matrix at a time: so many are in float32 while it is quantised."""

SCALES = torch.bfloat16


class Packed(NamedTuple):
    """A matrix (N, K). int8: weight (N, K) int8, scales (N,). int4: weight (N, ceil(K / 2)) uint8, scales (N, groups, 2).

    In int4 a byte holds an even column above the odd one behind it; a group's two numbers are its scale and its zero.
    """

    weight: Tensor
    scales: Tensor


def quantise(matrix: Tensor, form: str) -> Packed:
    """A matrix (N, K) of any float, on the CPU, in a form: the same bytes wherever it is used."""
    quantised = _int8 if form == "int8" else _int4
    packed = empty(len(matrix), matrix.shape[1], form)
    for first in range(0, len(matrix), ROWS):
        rows = slice(first, first + ROWS)
        weight, scales = quantised(matrix[rows].float())
        packed.weight[rows], packed.scales[rows] = weight, scales
    return packed


def empty(rows: int, columns: int, form: str, device: str = "cpu") -> Packed:
    """Room for a matrix."""
    if form == "int8":
        weight = torch.empty(rows, columns, dtype=torch.int8, device=device)
        return Packed(weight, torch.empty(rows, dtype=SCALES, device=device))
    weight = torch.empty(rows, math.ceil(columns / 2), dtype=torch.uint8, device=device)
    return Packed(weight, torch.empty(rows, math.ceil(columns / GROUP), 2, dtype=SCALES, device=device))


def dequantise(packed: Packed, columns: int, form: str) -> Tensor:
    """The matrix (N, columns) that the integers stand for, float32."""
    if form == "int8":
        return packed.weight.float().mul_(packed.scales.float()[:, None])
    integers = _integers(packed.weight)[:, :columns].float()
    scale, zero = packed.scales.float().unbind(-1)
    zero = zero - 8 * scale
    if columns % GROUP:
        return integers.mul_(_spread(scale, columns)).add_(_spread(zero, columns))
    grouped = integers.view(len(integers), -1, GROUP)
    return grouped.mul_(scale[..., None]).add_(zero[..., None]).view(len(integers), columns)


def _int8(rows: Tensor) -> Packed:
    scales = _rounded(rows.abs().amax(1) / 127)
    return Packed((rows / scales[:, None]).round().clamp(-127, 127).to(torch.int8), scales.to(SCALES))


def _int4(rows: Tensor) -> Packed:
    columns = rows.shape[1]
    padded = torch.cat((rows, rows[:, -1:].expand(-1, -columns % GROUP)), 1)
    groups = padded.view(len(rows), -1, GROUP)
    low, high = groups.aminmax(dim=-1, keepdim=True)
    scale = _rounded((high - low) / 15)
    zero = (low + 8 * scale).to(SCALES).float()
    integers = ((groups - zero) / scale + 8).round().clamp(0, 15).to(torch.uint8).flatten(1)
    bytes_of_pairs = integers[:, ::2] << 4 | integers[:, 1::2]
    scales = torch.cat((scale, zero), -1).to(SCALES)
    return Packed(bytes_of_pairs[:, : math.ceil(columns / 2)], scales)


def _rounded(scales: Tensor) -> Tensor:
    """As they are kept; never zero."""
    return scales.clamp(min=torch.finfo(SCALES).tiny).to(SCALES).float()


def _spread(of_groups: Tensor, columns: int) -> Tensor:
    return of_groups.repeat_interleave(GROUP, -1)[:, :columns]


def _integers(of_pairs: Tensor) -> Tensor:
    """The two halves of each byte side by side, uint8."""
    wide = of_pairs.to(torch.int16)
    return (wide >> 4).bitwise_or_((wide << 8).bitwise_and_(0x0F00)).view(torch.uint8)
