"""The published size on the meta device: its parameters, and every published tensor's name and shape."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from flamingo_lab import families
from flamingo_lab.checkpoint import Entry
from flamingo_lab.cli import run
from flamingo_lab.family import Folder
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import check

Shapes = dict[str, tuple[int, ...]]

PARAMETERS = 9_408_238_592
WIDTH, INNER, LAYERS, VOCAB, HEAD, PIXELS = 4096, 16384, 36, 262144, 64, 2700
"""adept/fuyu-8b, config.json."""


def linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def published() -> Shapes:
    """Names and shapes of the published files, written down apart from the rules."""
    shapes: Shapes = {
        **linear("vision_embed_tokens", WIDTH, PIXELS),
        "language_model.model.embed_tokens.weight": (VOCAB, WIDTH),
        "language_model.lm_head.weight": (VOCAB, WIDTH),
        **norm("language_model.model.final_layernorm", WIDTH),
    }
    for number in range(LAYERS):
        at = f"language_model.model.layers.{number}"
        shapes |= {
            **linear(f"{at}.self_attn.query_key_value", 3 * WIDTH, WIDTH),
            **linear(f"{at}.self_attn.dense", WIDTH, WIDTH),
            **norm(f"{at}.self_attn.q_layernorm", HEAD),
            **norm(f"{at}.self_attn.k_layernorm", HEAD),
            **linear(f"{at}.mlp.dense_h_to_4h", INNER, WIDTH),
            **linear(f"{at}.mlp.dense_4h_to_h", WIDTH, INNER),
            **norm(f"{at}.input_layernorm", WIDTH),
            **norm(f"{at}.post_attention_layernorm", WIDTH),
        }
    return shapes


class Headers:
    """The published tensors, as far as their headers tell."""

    folder = Path("fuyu-8b")
    files = ()

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes

    def items(self) -> Iterator[tuple[str, Entry]]:
        return ((name, Entry(shape, torch.bfloat16, self.folder)) for name, shape in self._shapes.items())

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        raise AssertionError("headers are enough")


def test_full_size_has_the_published_parameters_and_names() -> None:
    family, size = next(found for found in families.sizes() if found[1].name == "fuyu-8b")
    folder = Folder.listed(size)
    built = family.architecture(folder)
    with torch.device("meta"):
        vlm = VLM(built)
    (rules,) = family.rules(folder, built).values()
    shapes = published()
    (fills,) = check(vlm, [(Headers(shapes), rules)])  # strict both ways
    assert fills.keys() == shapes.keys()
    assert sum(parameter.numel() for parameter in vlm.parameters()) == size.parameters == PARAMETERS
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == PARAMETERS


def test_the_size_is_shown_with_its_patches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["show", "model", "fuyu-8b"]) == 0
    shown = capsys.readouterr().out
    assert "144 at 336 x 336" in shown
    assert "patch_px: 30" in shown
