"""What the parts of a model have in common: the functions between linear layers, and the norms."""

from __future__ import annotations

from typing import Literal

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "relu_squared", "silu"]

Norm = Literal["rms", "layer", "layer_without_bias"]
