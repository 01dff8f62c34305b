"""Weights in one byte or half a byte each: in which forms, of which parameters, and what they take. Needs no torch."""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from flamingo_lab.errors import BadSetting

if TYPE_CHECKING:
    from torch import Tensor

FORMS = ("int8", "int4")
"""From more bytes to fewer."""

GROUP = 64
"""Weights of a row that share a scale and a zero point in int4."""

TORCHAO = "torchao: pip install 'flamingo-lab[quant]'"
"""What holds the GPU's kernels, and how it is installed."""

MATRICES = re.compile(r"(decoder|tower)\.layers\.\d+\.(attention|mlp)\.(?!router\.|shares\.).*weight")
"""Of the frozen decoder and the tower; routers of experts choose by small differences, so they stay as they are."""


def stored_bytes(shape: Sequence[int], form: str) -> int:
    """What a matrix (rows, columns) takes in this form, scales in 16 bits included: one a row in int8, two a group in int4."""
    rows, columns = shape
    if form == "int8":
        return rows * (columns + 2)
    return rows * (math.ceil(columns / 2) + 4 * math.ceil(columns / GROUP))


def is_quantised(name: str, parameter: Tensor) -> bool:
    """Whether our parameter of this name is one of the frozen decoder's and tower's matrices."""
    return parameter.ndim == 2 and MATRICES.fullmatch(name) is not None


def check_form(form: str) -> None:
    """Raises `BadSetting` for a form that is none of `FORMS`."""
    if form not in FORMS:
        raise BadSetting(f"--quant {form} is none of {', '.join(FORMS)}")


def lacks_torchao() -> bool:
    """Whether what holds the GPU's kernels is not installed."""
    return importlib.util.find_spec("torchao") is None


def check_kernels(form: str, device_type: str) -> None:
    """Raises `BadSetting` where nothing computes with weights of this form on a device of this type (cpu, cuda)."""
    check_form(form)
    if device_type == "cpu":
        return
    if device_type != "cuda":
        raise BadSetting(f"--quant {form}: there are no kernels for it on {device_type}; leave it away")
    if lacks_torchao():
        raise BadSetting(f"--quant {form} on cuda needs {TORCHAO}")
    import torch

    if form == "int4" and torch.cuda.get_device_capability() < (8, 0):
        raise BadSetting("--quant int4: its kernels need a GPU of compute capability 8.0; take int8")
