"""The arithmetic that an evaluation cannot avoid, and how fast this machine multiplies."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from flamingo_lab.engine import tree
from flamingo_lab.engine.plan import Job
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.nn.decoder import CausalDecoder, DecoderLayer

SIDE = 2048
"""Of the matrices whose product says how fast the machine multiplies."""


def weights(module: nn.Module) -> int:
    """All of a module's matrices."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1)


def spared(decoder: CausalDecoder) -> int:
    """Those that only the last token of a prompt needs: what stands behind the last layer's keys and values."""
    last = cast(DecoderLayer, decoder.layers[-1])
    return sum(map(weights, (last.attention.q, last.attention.out, last.mlp)))


def matmul_rate(dtype: torch.dtype) -> float:
    """Operations a second of a 2048 x 2048 product, the best of some."""
    a, b = torch.randn(2, SIDE, SIDE).to(dtype)
    took: list[float] = []
    for _ in range(6):
        began = time.perf_counter()
        _ = a @ b
        took.append(time.perf_counter() - began)
    return 2 * SIDE**3 / min(took)


def floor_operations(model: LoadedModel, jobs: Sequence[Job], new_tokens: int) -> int:
    """What cannot be avoided: distinct pictures, distinct prompt tokens, `new_tokens` an answer, or those of its options.

    Of prompt tokens but the last ones, the last layer's keys and values are all that is needed of it.
    """
    vlm = model.vlm
    built = vlm.architecture
    leaves = tree.leaves(jobs)
    nodes = {node for leaf in leaves for node in leaf.above}
    new = [[len(option.ids) for option in one.options] or [new_tokens] for one in jobs]
    fed = sum(count - 1 for of_job in new for count in of_job)
    prompts = sum(leaf.own_tokens for leaf in leaves) + sum(node.end - node.first for node in nodes)
    pictures = len({image.digest for one in jobs for image in one.rendered.images})
    assert vlm.tower is not None
    of_picture = weights(vlm.tower) * built.tower.positions + weights(vlm.connector) * built.tokens_per_view
    of_token = sum(p.numel() for p in [*vlm.decoder.layers.parameters(), *vlm.join.parameters()] if p.ndim > 1)
    less = (prompts - len(leaves)) * spared(vlm.decoder)
    of_new = sum(map(sum, new)) * vlm.decoder.embedding.weight.numel()
    return 2 * (pictures * of_picture + (prompts + fed) * of_token - less + of_new)
