"""What a model's tower makes of a picture is what CLIP makes of it; families whose towers differ have vectors too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image as Pillow

import flamingo_lab as fl
from flamingo_lab.errors import BadSetting
from flamingo_lab.model import Embeds
from tests.families import tiny_fuyu, tiny_open_flamingo

SIZES = [(12, 12), (31, 17), (9, 40)]


def pictures() -> list[fl.Image]:
    noise = np.random.default_rng(0)
    return [fl.Image(Pillow.fromarray(noise.integers(0, 256, (height, width, 3), np.uint8))) for width, height in SIZES]


@pytest.mark.parametrize("layout", ["vision", "vision_open_clip"])
def test_vectors_are_clips_own(layout: str, tmp_path: Path) -> None:
    """Class token, last norm and projection, of length 1: what `encode_image` and `get_image_features` return."""
    written = tiny_open_flamingo.write_checkpoint(tmp_path, seed=3)
    loaded = written.load(layout)
    pixels = torch.from_numpy(np.concatenate([loaded.pipeline(image.load()) for image in pictures()]))
    clip: transformers.CLIPModel = written.clip
    with torch.inference_mode():
        theirs: Any = clip.visual_projection(clip.vision_model(pixels).pooler_output)
    expected = theirs.numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(loaded.embed(pictures()), expected, atol=1e-5)
    assert loaded.embed([]).shape[0] == 0


def test_a_vector_is_named_by_its_tower_and_its_pixels(tmp_path: Path) -> None:
    written = tiny_open_flamingo.write_checkpoint(tmp_path / "a", seed=3)
    first = written.load()
    assert isinstance(first, Embeds)
    # Another language model around the same tower shares its vectors.
    other = tiny_open_flamingo.write_checkpoint(tmp_path / "b", kind="gpt_neox", seed=4)
    shared = other.load(vision=str(tmp_path / "a" / "vision"))
    assert first.embeds_digest() == shared.embeds_digest() != other.load().embeds_digest()
    assert first.digest != shared.digest
    before = first.embeds_digest()
    state = torch.load(tmp_path / "a" / "vision" / "pytorch_model.bin")
    state["vision_model.post_layernorm.bias"][0] += 1
    torch.save(state, tmp_path / "a" / "vision" / "pytorch_model.bin")
    assert written.load().embeds_digest() != before


def test_a_model_without_a_tower_says_so(tmp_path: Path) -> None:
    tiny_fuyu.write_checkpoint(tmp_path, {}, 0)
    loaded = fl.load(tmp_path, dtype="float32", device="cpu")
    assert isinstance(loaded, Embeds)
    with pytest.raises(BadSetting, match="has no vision tower"):
        loaded.embed(pictures())
    with pytest.raises(BadSetting, match="has no vision tower"):
        loaded.embeds_digest()
