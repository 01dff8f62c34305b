"""Guided search equals the authors' code where a stub answers by formulas: goldens that need no checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

from flamingo_lab.search.guided import Ask, Seen
from flamingo_lab.search.phrases import noun_chunks
from tests.families import seal_searches
from tests.families.goldens import Golden, apart, found, params
from tests.folders import GOLDENS

FOUND = found(GOLDENS, "search")

pytestmark = pytest.mark.skipif(not FOUND, reason=f"no goldens of guided search under FLAB_GOLDENS ({GOLDENS})")


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


@cache
def searched(golden: Golden, name: str) -> seal_searches.Searched:
    options = golden.cases[name].options
    return seal_searches.searched(options, golden.folder, Stub(options["stub"]))


@pytest.mark.parametrize(("golden", "name", "stage"), params(FOUND, lambda case: case.rows[0].stages))
def test_golden_search_stages_are_equal(golden: Golden, name: str, stage: str) -> None:
    case = golden.cases[name]
    options = case.options
    match options["mode"], stage:
        case "search", _:
            computed = seal_searches.STAGES[stage](searched(golden, name))
        case "noun_chunks", "chunks":
            parse = seal_searches.parser(options["parses"])
            computed = {text: noun_chunks(parse(text)) for text in options["parses"]}
        case "split", "sub_patches":
            computed = seal_searches.splits(options["boxes"])
        case mode, _:
            raise AssertionError(f"a stored stage that no test knows: {stage} of mode {mode}")
    assert apart(computed, case.rows[0].stages[stage]) <= golden.tolerance
