"""The published sizes on the meta device: their parameter counts, and every tensor's name and shape."""

from __future__ import annotations

import math

import pytest
import torch

from flamingo_lab import families
from flamingo_lab.family import MAIN, Folder
from flamingo_lab.vlm import VLM
from tests.families.tiny_qwen_vl import published

PARAMETERS, TENSORS = 9_656_935_168, 853
"""From pytorch_model.bin.index.json of Qwen/Qwen-VL-Chat."""


NAMES = ("qwen-vl", "qwen-vl-chat")


@pytest.mark.parametrize("name", NAMES)
def test_full_size_has_the_published_parameters_and_names(name: str) -> None:
    family, size = next(found for found in families.sizes() if found[1].name == name)
    folder = Folder.listed(size)
    built = family.architecture(folder)
    with torch.device("meta"):
        vlm = VLM(built)
    assert sum(parameter.numel() for parameter in vlm.parameters()) == size.parameters == PARAMETERS
    shapes = published(dict(size.config))
    assert (sum(map(math.prod, shapes.values())), len(shapes)) == (PARAMETERS, TENSORS)
    rules = family.rules(folder, built)[MAIN]
    ours = {name: tuple(parameter.shape) for name, parameter in vlm.named_parameters()}
    filled: dict[str, tuple[int, ...]] = {}
    for theirs, shape in shapes.items():
        target = rules.ours(theirs)
        assert target is not None, theirs
        parts = target.apply(torch.empty(shape, device="meta"))
        filled |= {part_name: tuple(part.shape) for part_name, part in zip(target.names, parts, strict=True)}
        assert all(rules.published(part_name) == theirs for part_name in target.names)
    assert filled == ours


def test_a_picture_takes_256_positions() -> None:
    family, size = next(found for found in families.sizes() if found[1].name == "qwen-vl-chat")
    built = family.architecture(Folder.listed(size))
    assert built.tokens_of((1200, 300)) == 256
    assert built.tower.positions == 32 * 32
