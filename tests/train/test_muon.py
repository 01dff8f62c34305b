"""Muon against torch's, which iterates in bfloat16."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flamingo_lab.train.muon import Muon, orthogonal

SHAPES = ((6, 10), (10, 6), (8, 8), (6, 10))
RATE = 0.02


@pytest.mark.parametrize("shape", [(3, 12, 20), (2, 20, 12), (1, 16, 16)])
def test_singular_values_come_near_one(shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    drawn = torch.randn(shape)
    # The same singular vectors, with all their values near one: the coefficients trade exactness for speed.
    u, _, vh = torch.linalg.svd(drawn, full_matrices=False)
    found = u.mT @ orthogonal(drawn) @ vh.mT
    values = found.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert torch.allclose(found, torch.diag_embed(values), atol=1e-4)


def test_steps_are_those_of_torch() -> None:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    theirs = [nn.Parameter(parameter.detach().clone()) for parameter in ours]
    begun = [parameter.detach().clone() for parameter in ours]
    one = Muon([{"params": ours, "lr": RATE}], weight_decay=0.3)
    other = torch.optim.Muon([{"params": theirs, "lr": RATE}], weight_decay=0.3)
    for _ in range(4):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a)
            b.grad = a.grad.clone()
        one.step()
        other.step()
    for a, b, before in zip(ours, theirs, begun, strict=True):
        moved = (a - before).abs().max()
        assert moved > RATE
        assert (a - b).abs().max() < 0.05 * moved  # bfloat16 in the iteration
