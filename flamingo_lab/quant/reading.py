"""A model's weights into memory, its matrices quantised one by one on their way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from flamingo_lab import weights
from flamingo_lab.notes import note
from flamingo_lab.quant import is_quantised
from flamingo_lab.quant.copy import Copied
from flamingo_lab.quant.forms import quantise
from flamingo_lab.quant.linear import place
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import Source


def fill(vlm: VLM, sources: Sequence[Source], form: str, *, dtype: torch.dtype, device: torch.device) -> None:
    """Fill a model on the meta device. No matrix is in memory as it was published but the one that is being quantised."""
    if form == "int4" and device.type == "cpu":
        note("--quant int4 saves memory on a CPU, and takes longer than int8: there is no fast kernel for it there")
    copied = next((tensors for tensors, _ in sources if isinstance(tensors, Copied)), None)
    if copied is not None:
        copied.fill(vlm, dtype, device)
        return

    def keep(name: str, whole: Tensor) -> Tensor | None:
        if not is_quantised(name, whole):
            return whole
        place(vlm, name, quantise(whole, form), form, device)
        return None

    weights.fill(vlm, sources, dtype=dtype, device=device, own=keep)
