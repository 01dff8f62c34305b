"""Linear biases by distance, and what precision they keep."""

from __future__ import annotations

import pytest
import torch

from flamingo_lab.config import Alibi
from flamingo_lab.nn.attention import attend
from flamingo_lab.nn.positions import Places, alibi_bias, slopes

LENGTH = 1500


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shares_fall_with_distance_as_exactly_as_the_dtype_can_say(dtype: torch.dtype) -> None:
    """Of equal scores, so that the bias alone decides; read through values that name the keys."""
    places = Places.of(torch.ones(1, LENGTH, dtype=torch.bool), 1)
    bias = alibi_bias(places, Alibi(), 8)
    nothing = torch.zeros(1, 8, LENGTH, 4, dtype=dtype)
    values = torch.eye(LENGTH, dtype=dtype).expand(1, 8, -1, -1)
    with torch.inference_mode():
        shares = attend(nothing[:, :, :1], nothing, values, bias)[0, :, 0].double()
    distance = torch.arange(LENGTH - 1, -1, -1, dtype=torch.float64)
    expected = (-slopes(Alibi(), 8).double()[:, None] * distance).softmax(-1)
    seen = expected > 1e-6
    assert ((shares - expected).abs() / expected)[seen].max() <= torch.finfo(dtype).eps


def test_biases_alter_nothing_with_padding_before_them() -> None:
    real = torch.tensor([[False, False, True, True, True], [True] * 5])
    bias = alibi_bias(Places.of(real, 5), Alibi(), 3)
    assert torch.equal(bias[0, :, 2:, 2:], bias[1, :, :3, :3])
    assert (bias[0, :, 2:, :2] == -torch.inf).all()
