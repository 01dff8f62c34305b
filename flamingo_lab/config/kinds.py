"""What the parts of a model have in common: the functions between linear layers, and the norms."""

from __future__ import annotations

from typing import Literal

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "relu_squared", "silu"]

Norm = Literal["rms", "layer", "layer_without_bias"]

MOST = 1_000
"""Layers of one part, or experts of one layer: more than any model has."""


def refuse_more(**counts: int) -> None:
    """Raise `ValueError` for more of these than `MOST`, which would be built one by one, without an end."""
    for what, count in counts.items():
        if count > MOST:
            raise ValueError(f"{count} {what}; {MOST} at most are expected")
