"""The tiny models, each made once for all tests, and pictures that differ."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image as pil

import flamingo_lab as fl
from flamingo_lab.backends.transformers import PretrainedModel
from tests.backends import tiny


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tiny")
    return {name: make(root / name) for name, make in tiny.MAKERS.items()}


@pytest.fixture(scope="session")
def loaded(folders: dict[str, Path]) -> dict[str, PretrainedModel]:
    found: dict[str, PretrainedModel] = {}
    for name, folder in folders.items():
        model = fl.load(f"hf:{folder}", device="cpu", dtype="float32")
        assert isinstance(model, PretrainedModel)
        found[name] = model
    return found


@pytest.fixture(scope="session")
def pictures() -> list[fl.Image]:
    """A wide, a tall, a square and a small one."""
    wide = pil.radial_gradient("L").resize((70, 40)).convert("RGB")
    tall = pil.linear_gradient("L").resize((30, 64)).convert("RGB")
    square = pil.merge("RGB", [pil.linear_gradient("L").rotate(90 * n).resize((56, 56)) for n in range(3)])
    small = pil.new("RGB", (20, 20), (200, 30, 60))
    return [fl.Image(picture) for picture in (wide, tall, square, small)]
