"""How many numbers of a model a token is multiplied by."""

from __future__ import annotations

from typing import cast

from torch import nn

from flamingo_lab.nn.decoder import CausalDecoder, DecoderLayer


def weights(module: nn.Module) -> int:
    """All of a module's matrices."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1)


def spared(decoder: CausalDecoder) -> int:
    """Those that only the last token of a prompt needs: what stands behind the last layer's keys and values."""
    last = cast(DecoderLayer, decoder.layers[-1])
    return sum(map(weights, (last.attention.q, last.attention.out, last.mlp)))
