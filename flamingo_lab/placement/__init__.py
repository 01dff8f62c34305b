"""Where a model's weights go, and in what form."""

from __future__ import annotations

from typing import NamedTuple


class Placing(NamedTuple):
    """What a user asks for. device: auto, cpu, cuda, cuda:N; dtype: auto or a float's name.

    quant: one of `quant.FORMS` for the frozen matrices, None for none; tensor_parallel: processes that hold a slice each;
    offload: weights stay in their files and pass through memory.
    """

    device: str = "auto"
    dtype: str = "auto"
    quant: str | None = None
    tensor_parallel: int = 1
    offload: bool = False
