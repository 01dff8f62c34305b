"""A product by one of the faster ways is the general product."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from flamingo_lab.nn import linear
from flamingo_lab.nn.linear import Linear, packed


def whole(dtype: torch.dtype, has_bias: bool) -> tuple[Linear, nn.Linear]:
    """The same layer, ours and torch's."""
    torch.manual_seed(0)
    ours, theirs = Linear(300, 70, bias=has_bias), nn.Linear(300, 70, bias=has_bias)
    theirs.load_state_dict(ours.state_dict())
    return ours.to(dtype), theirs.to(dtype)


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("shape", [(300,), (1, 1, 300), (1, 2, 300), (3, 1, 300)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_torch(dtype: torch.dtype, shape: tuple[int, ...], has_bias: bool) -> None:
    ours, theirs = whole(dtype, has_bias)
    x = torch.randn(shape).to(dtype)
    with torch.inference_mode():
        found, expected = ours(x), theirs(x)
        exact = nn.functional.linear(x.double(), theirs.weight.double(), None if not has_bias else theirs.bias.double())
    assert found.shape == expected.shape and found.dtype == dtype
    rounding = torch.finfo(dtype).eps * exact.abs().max()
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=float(4 * rounding))
    torch.testing.assert_close(found, expected, rtol=0, atol=float(2 * rounding))


def test_one_row_is_a_view_of_any_layout() -> None:
    ours, theirs = whole(torch.bfloat16, True)
    x = torch.randn(300, 2).bfloat16()[:, :1].T
    assert not x.is_contiguous() or x.stride() != (300, 1)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs(x), rtol=0.02, atol=0.02)


def test_gradients_flow_through_one_row() -> None:
    ours, theirs = whole(torch.bfloat16, True)
    x = torch.randn(1, 1, 300).bfloat16()

    def gradients(layer: nn.Linear) -> list[Tensor]:
        layer(x).float().sum().backward()
        return [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]

    for own, other in zip(gradients(ours), gradients(theirs), strict=True):
        torch.testing.assert_close(own, other)


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("shape", [(300,), (5, 300), (2, 4, 300), (2, 0, 300)])
def test_onednn_gives_the_same(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], has_bias: bool) -> None:
    asked = 0

    def is_ahead() -> bool:
        nonlocal asked
        asked += 1
        return True

    monkeypatch.setattr(linear, "is_onednn_ahead", is_ahead)
    monkeypatch.setattr(linear, "LARGE", 0)
    ours, theirs = whole(torch.float32, has_bias)
    x = torch.randn(shape)
    strided = torch.randn((*shape, 2))[..., 0]
    with torch.inference_mode():
        for given in (x, strided):
            torch.testing.assert_close(ours(given), theirs(given), rtol=0, atol=1e-5)
    assert asked == 2
    ours(x).sum().backward()
    assert asked == 2, "no gradient flows through that way"


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bfloat16 in oneDNN")
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("shape", [(300,), (1, 1, 300), (3, 5, 300), (2, 0, 300)])
def test_a_packed_matrix_is_the_matrix(shape: tuple[int, ...], has_bias: bool) -> None:
    ours, theirs = whole(torch.bfloat16, has_bias)
    plain = ours.weight
    ours.weight = nn.Parameter(packed(plain.detach()), requires_grad=False)
    assert ours.weight.is_mkldnn and ours.weight.shape == plain.shape and ours.weight.nbytes == plain.nbytes
    assert torch.equal(ours.weight.to_dense(), plain)
    x = torch.randn(shape).bfloat16()
    for mode in (torch.inference_mode(), torch.no_grad()):
        with mode:
            found, expected = ours(x), theirs(x)
        assert found.shape == expected.shape and found.dtype == torch.bfloat16
        torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)
