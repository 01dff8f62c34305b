"""The published sizes on the meta device: their parameter counts, and every tensor's name and shape."""

from __future__ import annotations

import pytest
import torch

from flamingo_lab import families
from flamingo_lab.family import Folder
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import published_name

Shapes = dict[str, tuple[int, ...]]

DECODERS = {"yi-vl-6b": 6_061_035_520, "yi-vl-34b": 34_388_917_248}
PROJECTORS = {"yi-vl-6b": 22_044_672, "yi-vl-34b": 60_598_272}
TOWER = 631_749_120
"""Parameters, counted on the authors' classes."""

LAYOUTS = {"yi-vl-6b": (4096, 11008, 32, 512), "yi-vl-34b": (7168, 20480, 60, 1024)}
"""Width, feed-forward width, layers, width of keys."""


def both(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def main_files(width: int, inner: int, layers: int, keys: int) -> Shapes:
    """Names and shapes in the published shards, written down apart from the rules."""
    shapes: Shapes = {
        "model.embed_tokens.weight": (64000, width),
        "lm_head.weight": (64000, width),
        "model.norm.weight": (width,),
        **both("model.mm_projector.0", width, 1280),
        **both("model.mm_projector.1", width),
        **both("model.mm_projector.3", width, width),
        **both("model.mm_projector.4", width),
    }
    for number in range(layers):
        at = f"model.layers.{number}"
        shapes |= {
            f"{at}.self_attn.q_proj.weight": (width, width),
            f"{at}.self_attn.k_proj.weight": (keys, width),
            f"{at}.self_attn.v_proj.weight": (keys, width),
            f"{at}.self_attn.o_proj.weight": (width, width),
            f"{at}.mlp.gate_proj.weight": (inner, width),
            f"{at}.mlp.up_proj.weight": (inner, width),
            f"{at}.mlp.down_proj.weight": (width, inner),
            f"{at}.input_layernorm.weight": (width,),
            f"{at}.post_attention_layernorm.weight": (width,),
        }
    return shapes


def tower_files() -> Shapes:
    shapes: Shapes = {
        "vision_model.embeddings.class_embedding": (1280,),
        "vision_model.embeddings.patch_embedding.weight": (1280, 3, 14, 14),
        "vision_model.embeddings.position_embedding.weight": (1025, 1280),
        **both("vision_model.pre_layrnorm", 1280),
        **both("vision_model.post_layernorm", 1280),
    }
    for number in range(32):
        at = f"vision_model.encoder.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= both(f"{at}.self_attn.{part}", 1280, 1280)
        shapes |= both(f"{at}.mlp.fc1", 5120, 1280) | both(f"{at}.mlp.fc2", 1280, 5120)
        shapes |= both(f"{at}.layer_norm1", 1280) | both(f"{at}.layer_norm2", 1280)
    return shapes


@pytest.mark.parametrize("name", DECODERS)
def test_full_size_has_the_published_parameters_and_names(name: str) -> None:
    family, size = next(found for found in families.sizes() if found[1].name == name)
    assert family.name == "yi_vl"
    folder = Folder.listed(size)
    assert families.of(folder) is family
    built = family.architecture(folder)
    with torch.device("meta"):
        vlm = VLM(built)

    def count(*parts: torch.nn.Module) -> int:
        return sum(parameter.numel() for part in parts for parameter in part.parameters())

    assert count(vlm.decoder) == DECODERS[name]
    assert count(vlm.connector) == PROJECTORS[name]
    assert count(vlm.tower) == TOWER
    assert size.parameters == count(vlm)
    assert built.tower.tokens == 1024
    rules = family.rules(folder, built)
    parameters = dict(vlm.named_parameters())
    assert len(parameters) == len(main_files(*LAYOUTS[name])) + len(tower_files())
    for part, expected in {"path": main_files(*LAYOUTS[name]), "vision": tower_files()}.items():
        found: Shapes = {}
        for theirs in expected:
            target = rules[part].ours(theirs)
            assert target, theirs
            found[theirs] = tuple(target.apply(parameters[target.names[0]])[0].shape)
            assert published_name(list(rules.values()), target.names[0]) == theirs
        assert found == expected
