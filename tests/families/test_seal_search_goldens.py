"""Guided search equals the authors' code where a stub answers by formulas: goldens that need no checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from flamingo_lab.search.guided import Ask, Seen
from flamingo_lab.search.phrases import noun_chunks
from tests.families import seal_searches
from tests.folders import GOLDENS


def found() -> list[Any]:
    """Every case of every golden of guided search that loads nothing."""
    cases: list[Any] = []
    for file in sorted(GOLDENS.glob("*/golden.json")):
        facts = json.loads(file.read_text(encoding="utf-8"))
        if facts["family"] == "seal" and not facts["load"]:
            cases += [pytest.param(file.parent, facts, case, id=case["name"]) for case in facts["cases"]]
    return cases


CASES = found()

pytestmark = pytest.mark.skipif(not CASES, reason=f"no goldens of guided search under FLAB_GOLDENS ({GOLDENS})")


class Stub:
    """The golden's stand-in for the search model: where everything is, is said by formulas (source.notes)."""

    def __init__(self, stub: Mapping[str, Any]) -> None:
        self._stub = stub

    def __call__(self, ask: Ask) -> Seen:
        stub, patch = self._stub, ask.patch
        if ask.mode == "vqa":
            return Seen(stub["answer"], np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((1, 1)))
        if ask.mode == "segmentation":
            blobs = next((blobs for key, blobs in stub["context"].items() if key in ask.question), [])
        else:
            blobs = stub["target"]
        boxes: list[list[float]] = []
        scores: list[float] = []
        for (x, y, width, height), strength in stub["objects"]:
            centre = x + width / 2, y + height / 2
            sides = patch.width, patch.height
            is_inside = all(a <= c < a + side for a, c, side in zip(patch[:2], centre, sides, strict=True))
            share = math.sqrt(math.prod(ask.picture.size) / math.prod(sides))
            boxes.append(
                [
                    *((c - a) / side for a, c, side in zip(patch[:2], centre, sides, strict=True)),
                    width / sides[0],
                    height / sides[1],
                ]
            )
            scores.append(min(0.99, strength * share) if is_inside else 0.01)
        return Seen("", np.array(boxes, np.float32), np.array(scores, np.float32), field(blobs, patch))


def field(blobs: Sequence[Sequence[float]], patch: Sequence[int]) -> np.ndarray:
    left, top, width, height = patch
    y, x = np.mgrid[top : top + height, left : left + width].astype(float)
    heat = np.zeros((height, width))
    for cx, cy, sigma, amplitude in blobs:
        heat += amplitude * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
    return heat.astype(np.float32)


@pytest.mark.parametrize(("folder", "facts", "case"), CASES)
def test_golden_search_stages_are_equal(folder: Path, facts: dict[str, Any], case: dict[str, Any]) -> None:
    options = case["options"]
    if options["mode"] == "search":
        searched = seal_searches.searched(options, folder, Stub(options["stub"]))
    tensors = load_file(folder / "expected.safetensors")
    for name, expected in case["expect"].items():
        match options["mode"]:
            case "search":
                computed = seal_searches.STAGES[name](searched)
            case "noun_chunks":
                assert name == "chunks"
                parse = seal_searches.parser(options["parses"])
                computed = {text: noun_chunks(parse(text)) for text in options["parses"]}
            case "split":
                assert name == "sub_patches"
                computed = seal_searches.splits(options["boxes"])
            case mode:
                raise AssertionError(f"a mode that this test does not know: {mode}")
        if isinstance(expected, dict) and "tensor" in expected:
            stored = tensors[expected["tensor"]]
            assert computed.shape == stored.shape, name
            assert np.abs(computed - stored).max() <= facts["tolerance"], name
        else:
            assert computed == expected, name
