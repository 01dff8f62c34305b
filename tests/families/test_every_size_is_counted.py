"""No listed model is without a test of its published parameters."""

from __future__ import annotations

from flamingo_lab import families
from tests.families import (
    test_idefics_sizes,
    test_llava_sizes,
    test_moe_llava_sizes,
    test_open_flamingo_sizes,
    test_qwen_vl_sizes,
    test_seal_sizes,
    test_yi_vl_sizes,
)

FUYU = "fuyu-8b"
"""The only one of test_fuyu_sizes.py."""


def test_every_listed_model_is_counted_once() -> None:
    counted = [
        *test_idefics_sizes.COUNTS,
        *test_llava_sizes.COUNTS,
        *test_moe_llava_sizes.COUNTS,
        *test_open_flamingo_sizes.COUNTS,
        *test_qwen_vl_sizes.NAMES,
        *test_seal_sizes.PARTS,
        *test_yi_vl_sizes.DECODERS,
        FUYU,
    ]
    # What this package ships is loaded whole by other tests.
    assert sorted(counted) == sorted(size.name for _, size in families.sizes() if not size.bundled)
