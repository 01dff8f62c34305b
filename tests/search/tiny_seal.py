"""SEAL's two tiny models, from the goldens' checkpoints."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

import flamingo_lab as fl
from flamingo_lab.search.vstar import VStar
from tests.folders import GOLDENS

VQA, VSM, BENCH = GOLDENS / "seal_vqa", GOLDENS / "seal_vsm", GOLDENS / "seal_bench" / "images" / "vstar"

needs_goldens = pytest.mark.skipif(
    not (VQA.is_dir() and VSM.is_dir() and BENCH.is_dir()), reason=f"no goldens of SEAL under FLAB_GOLDENS ({GOLDENS})"
)

PARTS: dict[str, Any] = {
    "vqa": VQA / "checkpoint",
    "vqa_vision": VQA / "vision",
    "vsm": VSM / "checkpoint",
    "vsm_vision": VSM / "vision",
    "owlvit": VSM / "owlvit",
}


@cache
def seal() -> VStar:
    model = fl.load("seal", dtype="float32", device="cpu", **PARTS)
    assert isinstance(model, VStar)
    return model


@cache
def vqa() -> fl.LoadedModel:
    return fl.load(VQA / "checkpoint", vision=VQA / "vision", dtype="float32", device="cpu")


@cache
def vsm() -> fl.LoadedModel:
    parts = {"vision": VSM / "vision", "owlvit": VSM / "owlvit"}
    return fl.load(VSM / "checkpoint", **parts, dtype="float32", device="cpu")
