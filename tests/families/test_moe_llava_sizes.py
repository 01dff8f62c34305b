"""The published sizes on the meta device: their parameter counts, and every tensor's name and shape."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from flamingo_lab import families
from flamingo_lab.family import Folder
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import published_name

Shapes = dict[str, tuple[int, ...]]

COUNTS = {
    "moe-llava-stablelm-1.6b-4e": (2_890_321_920, 2_059_849_728, 6_295_552, 303_507_456),
    "moe-llava-qwen-1.8b-4e": (3_054_323_712, 2_242_725_888, 6_295_552, 303_507_456),
    "moe-llava-phi2-2.7b-4e": (5_296_993_280, 3_618_862_080, 9_180_160, 303_507_456),
    "moe-llava-stablelm-1.6b-4e-384": (2_890_321_920, 2_059_849_728, 6_557_696, 412_987_248),
    "moe-llava-phi2-2.7b-4e-384": (5_296_993_280, 3_618_862_080, 9_507_840, 412_987_248),
}
"""Of the decoder, of what of it acts on one token, of the projector, of the tower (SigLIP's without its pooling head)."""


def weight(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape}


def both(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def branches(number: int, at: str, width: int, branch: Callable[[str], Shapes]) -> Shapes:
    """A layer's branch, or its router and four of them in every other layer."""
    if number % 2:
        return branch(f"{at}.mlp")
    inner = f"{at}.mlp.deepspeed_moe"
    shapes = weight(f"{inner}.gate.wg", 4, width)
    for expert in range(4):
        shapes |= branch(f"{inner}.experts.deepspeed_experts.{expert}")
    return shapes


def phi(seen: int) -> Shapes:
    def branch(at: str) -> Shapes:
        return both(f"{at}.fc1", 10240, 2560) | both(f"{at}.fc2", 2560, 10240)

    shapes = weight("model.embed_tokens", 51200, 2560) | weight("lm_head", 51200, 2560)
    shapes |= both("model.final_layernorm", 2560) | projector("model", seen, 2560)
    for number in range(32):
        at = f"model.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "dense"):
            shapes |= both(f"{at}.self_attn.{part}", 2560, 2560)
        shapes |= both(f"{at}.input_layernorm", 2560) | branches(number, at, 2560, branch)
    return shapes


def stablelm(seen: int) -> Shapes:
    def branch(at: str) -> Shapes:
        wide = weight(f"{at}.gate_proj", 5632, 2048) | weight(f"{at}.up_proj", 5632, 2048)
        return wide | weight(f"{at}.down_proj", 2048, 5632)

    shapes = weight("model.embed_tokens", 100352, 2048) | weight("lm_head", 100352, 2048)
    shapes |= both("model.norm", 2048) | projector("model", seen, 2048)
    for number in range(24):
        at = f"model.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj"):
            shapes |= both(f"{at}.self_attn.{part}", 2048, 2048)
        shapes |= weight(f"{at}.self_attn.o_proj", 2048, 2048)
        shapes |= both(f"{at}.input_layernorm", 2048) | both(f"{at}.post_attention_layernorm", 2048)
        shapes |= branches(number, at, 2048, branch)
    return shapes


def qwen(seen: int) -> Shapes:
    def branch(at: str) -> Shapes:
        wide = weight(f"{at}.w1", 5504, 2048) | weight(f"{at}.w2", 5504, 2048)
        return wide | weight(f"{at}.c_proj", 2048, 5504)

    shapes = weight("transformer.wte", 151936, 2048) | weight("lm_head", 151936, 2048)
    shapes |= weight("transformer.ln_f", 2048) | projector("transformer", seen, 2048)
    for number in range(24):
        at = f"transformer.h.{number}"
        shapes |= both(f"{at}.attn.c_attn", 6144, 2048) | weight(f"{at}.attn.c_proj", 2048, 2048)
        shapes |= weight(f"{at}.ln_1", 2048) | weight(f"{at}.ln_2", 2048) | branches(number, at, 2048, branch)
    return shapes


def projector(root: str, seen: int, width: int) -> Shapes:
    at = f"{root}.mm_projector.image_spatial_proj"
    return both(f"{at}.0", width, seen) | both(f"{at}.2", width, width)


def tower(width: int, inner: int, layers: int, positions: int, is_clip: bool) -> Shapes:
    at = "vision_model.embeddings"
    patches = weight if is_clip else both
    shapes = patches(f"{at}.patch_embedding", width, 3, 14, 14) | weight(f"{at}.position_embedding", positions, width)
    shapes |= both("vision_model.post_layernorm", width)
    if is_clip:
        shapes |= {f"{at}.class_embedding": (width,)} | both("vision_model.pre_layrnorm", width)
    for number in range(layers):
        at = f"vision_model.encoder.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= both(f"{at}.self_attn.{part}", width, width)
        shapes |= both(f"{at}.mlp.fc1", inner, width) | both(f"{at}.mlp.fc2", width, inner)
        shapes |= both(f"{at}.layer_norm1", width) | both(f"{at}.layer_norm2", width)
    return shapes


def expected(name: str) -> dict[str, Shapes]:
    """Names and shapes of the published files, written down apart from the rules."""
    decoder = next(each for part, each in {"phi": phi, "stablelm": stablelm, "qwen": qwen}.items() if part in name)
    if name.endswith("384"):
        return {"path": decoder(1152), "vision": tower(1152, 4304, 27, 729, is_clip=False)}
    return {"path": decoder(1024), "vision": tower(1024, 4096, 24, 577, is_clip=True)}


@pytest.mark.parametrize("name", COUNTS)
def test_full_size_has_the_published_parameters_and_names(name: str) -> None:
    family, size = next(found for found in families.sizes() if found[1].name == name)
    folder = Folder.listed(size)
    assert families.of(folder) is family
    built = family.architecture(folder)
    with torch.device("meta"):
        vlm = VLM(built)

    def count(part: torch.nn.Module, without: str = "nothing") -> int:
        return sum(parameter.numel() for name, parameter in part.named_parameters() if without not in name)

    idle = sum(count(vlm.decoder) - count(vlm.decoder, f".mlp.experts.{expert}.") for expert in (2, 3))
    found = (count(vlm.decoder), count(vlm.decoder) - idle, count(vlm.connector), count(vlm.tower))
    assert found == COUNTS[name]
    assert size.parameters == count(vlm)
    assert built.tokens_per_view == (728 if name.endswith("384") else 576)
    rules = family.rules(folder, built)
    parameters = dict(vlm.named_parameters())
    filled: set[str] = set()
    for part, shapes in expected(name).items():
        for theirs, shape in shapes.items():
            target = rules[part].ours(theirs)
            assert target, theirs
            given = target.apply(torch.empty(shape, device="meta"))
            for ours, tensor in zip(target.names, given, strict=True):
                assert parameters[ours].shape == tensor.shape, theirs
                assert published_name(list(rules.values()), ours) == theirs
            filled.update(target.names)
    assert filled == parameters.keys()
