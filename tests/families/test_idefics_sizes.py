"""The published sizes on the meta device: their parameter counts, and every tensor's name and shape."""

from __future__ import annotations

import pytest
import torch

from flamingo_lab import families
from flamingo_lab.family import Folder
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import published_name

Shapes = dict[str, tuple[int, ...]]

COUNTS = {
    "idefics-9b": (8_929_679_632, 1015),
    "idefics-9b-instruct": (8_929_687_824, 1015),
    "idefics-80b": (79_967_843_624, 1603),
    "idefics-80b-instruct": (79_967_860_008, 1603),
}
"""Parameters and tensors, from the index files of HuggingFaceM4/idefics-*."""


def layer(at: str, width: int, inner: int, attention: str = "self_attn", kv_width: int | None = None) -> Shapes:
    """A LLaMA layer, or a gated block, as published."""
    wide = (width, kv_width or width)
    return {
        f"{at}.{attention}.q_proj.weight": (width, width),
        f"{at}.{attention}.k_proj.weight": wide,
        f"{at}.{attention}.v_proj.weight": wide,
        f"{at}.{attention}.o_proj.weight": (width, width),
        f"{at}.mlp.gate_proj.weight": (inner, width),
        f"{at}.mlp.up_proj.weight": (inner, width),
        f"{at}.mlp.down_proj.weight": (width, inner),
        f"{at}.input_layernorm.weight": (width,),
        f"{at}.post_attention_layernorm.weight": (width,),
    }


def both(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def published(width: int, inner: int, layers: int, extra: int) -> Shapes:
    """Names and shapes of the published files, written down apart from the rules."""
    vision = "model.vision_model"
    shapes: Shapes = {
        "model.embed_tokens.weight": (32000, width),
        "model.embed_tokens.additional_embedding.weight": (extra, width),
        "lm_head.weight": (32000, width),
        "lm_head.additional_fc.weight": (extra, width),
        "model.norm.weight": (width,),
        f"{vision}.embeddings.class_embedding": (1280,),
        f"{vision}.embeddings.patch_embedding.weight": (1280, 3, 14, 14),
        f"{vision}.embeddings.position_embedding.weight": (257, 1280),
        **both(f"{vision}.pre_layrnorm", 1280),
        **both(f"{vision}.post_layernorm", 1280),
        "model.perceiver_resampler.latents": (64, 1280),
        **both("model.perceiver_resampler.layer_norm", 1280),
    }
    for number in range(32):
        at = f"{vision}.encoder.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= {f"{at}.self_attn.{part}.weight": (1280, 1280), f"{at}.self_attn.{part}.bias": (1280,)}
        shapes |= {f"{at}.mlp.fc1.weight": (5120, 1280), f"{at}.mlp.fc1.bias": (5120,)}
        shapes |= {f"{at}.mlp.fc2.weight": (1280, 5120), f"{at}.mlp.fc2.bias": (1280,)}
        shapes |= both(f"{at}.layer_norm1", 1280) | both(f"{at}.layer_norm2", 1280)
    for number in range(6):
        at = f"model.perceiver_resampler.blocks.{number}"
        shapes |= both(f"{at}.0.context_layer_norm", 1280) | both(f"{at}.0.latents_layer_norm", 1280)
        shapes |= both(f"{at}.0.q_layer_norm", 96) | both(f"{at}.0.k_layer_norm", 96) | both(f"{at}.1.ln", 1280)
        shapes |= {f"{at}.0.{part}_proj.weight": (1536, 1280) for part in "qkv"}
        shapes |= {f"{at}.0.output_proj.weight": (1280, 1536)}
        shapes |= {f"{at}.1.fc.weight": (5120, 1280), f"{at}.1.c_proj.weight": (1280, 5120)}
    for number in range(layers):
        shapes |= layer(f"model.layers.{number}", width, inner)
    for number in range(layers // 4):
        at = f"model.gated_cross_attn_layers.{number}"
        shapes |= layer(at, width, inner, "cross_attn", 1280)
        shapes |= {f"{at}.alpha_cross_attn": (1,), f"{at}.alpha_dense": (1,)}
        shapes |= {f"{at}.cross_attn.{part}_layer_norm.weight": (128,) for part in "qk"}
    return shapes


@pytest.mark.parametrize("name", COUNTS)
def test_full_size_has_the_published_parameters_and_names(name: str) -> None:
    family, size = next(found for found in families.sizes() if found[1].name == name)
    folder = Folder.listed(size)
    built = family.architecture(folder)
    with torch.device("meta"):
        vlm = VLM(built)
    (rules,) = family.rules(folder, built).values()
    found = {published_name([rules], ours): tuple(parameter.shape) for ours, parameter in vlm.named_parameters()}
    assert (sum(parameter.numel() for parameter in vlm.parameters()), len(found)) == COUNTS[name]
    assert size.parameters == COUNTS[name][0]
    decoder = built.decoder
    assert found == published(decoder.width, decoder.mlp_width, decoder.layers, decoder.extra_vocab)
    assert all(rules.ours(theirs) for theirs in found)


def test_the_bundled_size_states_its_parameters() -> None:
    family, size = next(found for found in families.sizes() if found[1].bundled)
    with torch.device("meta"):
        vlm = VLM(family.architecture(Folder.listed(size)))
    assert sum(parameter.numel() for parameter in vlm.parameters()) == size.parameters
