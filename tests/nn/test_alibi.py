"""Linear biases by distance, and what precision they keep."""

from __future__ import annotations

import pytest
import torch

from flamingo_lab.config import Alibi
from flamingo_lab.nn.attention import attend, attend_to_part, join
from flamingo_lab.nn.positions import alibi_bias, slopes

LENGTH = 1500


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shares_fall_with_distance_as_exactly_as_the_dtype_can_say(dtype: torch.dtype) -> None:
    """Of equal scores, so that the bias alone decides; read through values that name the keys."""
    positions = torch.arange(LENGTH)[None]
    bias = alibi_bias(positions[:, -1:], positions, slopes(Alibi(), 8))
    nothing = torch.zeros(1, 8, LENGTH, 4, dtype=dtype)
    values = torch.eye(LENGTH, dtype=dtype).expand(1, 8, -1, -1)
    with torch.inference_mode():
        shares = attend(nothing[:, :, :1], nothing, values, bias)[0, :, 0].double()
    distance = torch.arange(LENGTH - 1, -1, -1, dtype=torch.float64)
    expected = (-slopes(Alibi(), 8).double()[:, None] * distance).softmax(-1)
    seen = expected > 1e-6
    assert ((shares - expected).abs() / expected)[seen].max() <= torch.finfo(dtype).eps


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_under_a_bias_are_joined_to_the_whole(dtype: torch.dtype) -> None:
    """Keys in two parts, looked at each by itself, are what attention to all of them is."""
    torch.manual_seed(0)
    queries = torch.randn(1, 3, 7, 8, dtype=dtype)
    keys, values = torch.randn(2, 1, 3, 40, 8, dtype=dtype)
    positions = torch.arange(40)[None]
    bias = alibi_bias(positions[:, -7:], positions, slopes(Alibi(), 3))
    with torch.inference_mode():
        whole = attend(queries, keys, values, bias)
        parts = [
            attend_to_part(queries, keys[:, :, part], values[:, :, part], bias[..., part])
            for part in (slice(25), slice(25, 40))
        ]
    precision = torch.finfo(dtype).eps
    torch.testing.assert_close(join(parts), whole, atol=2 * precision, rtol=2 * precision)
