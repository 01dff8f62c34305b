"""Devices and dtypes by their names."""

from __future__ import annotations

import os

import torch

from flamingo_lab.errors import BadSetting

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

ROOM = 0.5
"""Share of this machine's memory that weights may take in float32 before `auto` takes bfloat16 on any CPU."""


def device_of(name: str) -> torch.device:
    """The device of this name; auto is the GPU where there is one. Raises `BadSetting`."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadSetting(f"device {name!r} is none of auto, cpu, cuda, cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadSetting(f"device {name}: this machine has {torch.cuda.device_count()} GPUs that torch can use")
    return device


def dtype_of(name: str, device: torch.device, parameters: int) -> torch.dtype:
    """The dtype of this name; see `load` for auto, which depends on how many parameters there are. Raises `BadSetting`."""
    if name != "auto":
        if name not in DTYPES:
            raise BadSetting(f"dtype {name!r} is none of auto, {', '.join(DTYPES)}")
        return DTYPES[name]
    if device.type != "cpu" or has_native_bfloat16():
        return torch.bfloat16
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return torch.float32 if 4 * parameters <= ROOM * memory else torch.bfloat16


def has_native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 by itself, and not through float32."""
    flags = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, flag, lambda: False)() for flag in flags)
