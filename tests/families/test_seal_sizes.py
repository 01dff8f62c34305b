"""SEAL's published sizes on the meta device: parameters by part, and every tensor's name and shape."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from flamingo_lab import composed, families
from flamingo_lab.config import Architecture
from flamingo_lab.family import Folder
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import held, published_name
from tests.families.test_idefics_sizes import Shapes, both, layer

PARTS = {
    "seal_vqa_7b": {
        "decoder": 6_738_415_616,
        "tower": 303_179_776,
        "connector.long": 4_198_400,
        "connector.short": 92_353_536,
    },
    "seal_vsm_7b": {
        "decoder": 6_738_415_616 + 2 * 3 * 4096,  # three tokens more
        "tower": 303_179_776,
        "connector.layers": 4_198_400,
        "locator.detector": 88_999_430,
        "locator.prompts": 6_220,
        "locator.masks": 4_150_500,
        "locator.to_masks": 196_608,
        "locator.to_query": 18_878_976,
        "locator.to_prompt": 17_830_144,
    },
}
"""Counted with the authors' classes on the meta device."""


def linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def clip_layers(at: str, layers: int, width: int) -> Shapes:
    shapes: Shapes = {}
    for number in range(layers):
        inner = f"{at}.encoder.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= linear(f"{inner}.self_attn.{part}", width, width)
        shapes |= linear(f"{inner}.mlp.fc1", 4 * width, width) | linear(f"{inner}.mlp.fc2", width, 4 * width)
        shapes |= both(f"{inner}.layer_norm1", width) | both(f"{inner}.layer_norm2", width)
    return shapes


def tower(at: str, layers: int, width: int, patch: int, positions: int, pre_norm: str) -> Shapes:
    return {
        f"{at}.embeddings.class_embedding": (width,),
        f"{at}.embeddings.patch_embedding.weight": (width, 3, patch, patch),
        f"{at}.embeddings.position_embedding.weight": (positions, width),
        **both(f"{at}.{pre_norm}", width),
        **both(f"{at}.post_layernorm", width),
        **clip_layers(at, layers, width),
    }


def llava(vocab: int) -> Shapes:
    """What both models have: the decoder, the linear projector and CLIP ViT-L/14."""
    shapes: Shapes = {
        "model.embed_tokens.weight": (vocab, 4096),
        "lm_head.weight": (vocab, 4096),
        "model.norm.weight": (4096,),
        **linear("model.mm_projector", 4096, 1024),
        **tower("vision_model", 24, 1024, 14, 257, "pre_layrnorm"),
    }
    for number in range(32):
        shapes |= layer(f"model.layers.{number}", 4096, 11008)
    return shapes


def vqa() -> Shapes:
    at = "model.mm_projector_object"
    shapes: Shapes = {
        **llava(32000),
        **both(f"{at}.0", 1024),
        f"{at}.1.latents": (32, 1024),
        f"{at}.1.media_pos_emb": (1, 1, 1024),
        **both(f"{at}.1.norm", 1024),
        **linear(f"{at}.2", 4096, 1024),
    }
    for number in range(6):
        inner = f"{at}.1.layers.{number}"
        shapes |= (
            both(f"{inner}.0.norm_media", 1024) | both(f"{inner}.0.norm_latents", 1024) | both(f"{inner}.1.0", 1024)
        )
        shapes |= {f"{inner}.0.to_q.weight": (1536, 1024), f"{inner}.0.to_kv.weight": (3072, 1024)}
        shapes |= {f"{inner}.0.to_out.weight": (1024, 1536)}
        shapes |= {f"{inner}.1.1.weight": (4096, 1024), f"{inner}.1.3.weight": (1024, 4096)}
    return shapes


def attention(at: str, inner: int) -> Shapes:
    shapes: Shapes = linear(f"{at}.out_proj", 256, inner)
    for part in ("q_proj", "k_proj", "v_proj"):
        shapes |= linear(f"{at}.{part}", inner, 256)
    return shapes


def vsm() -> Shapes:
    owl, prompts, masks = "model.owlvit", "model.prompt_encoder", "model.mask_decoder"
    shapes: Shapes = {
        **llava(32003),
        **tower(f"{owl}.vision_model", 12, 768, 16, 2305, "pre_layernorm"),
        **both(f"{owl}.layer_norm", 768),
        **linear(f"{owl}.class_head.dense0", 512, 768),
        **linear(f"{owl}.class_head.logit_shift", 1, 768),
        **linear(f"{owl}.class_head.logit_scale", 1, 768),
        **linear(f"{owl}.box_head.dense0", 768, 768),
        **linear(f"{owl}.box_head.dense1", 768, 768),
        **linear(f"{owl}.box_head.dense2", 4, 768),
        "model.visual_projection.weight": (256, 768),
        **linear("model.text_hidden_fcs_det.0.0", 4096, 4096),
        **linear("model.text_hidden_fcs_det.0.2", 512, 4096),
        **linear("model.text_hidden_fcs_seg.0.0", 4096, 4096),
        **linear("model.text_hidden_fcs_seg.0.2", 256, 4096),
        f"{prompts}.pe_layer.positional_encoding_gaussian_matrix": (2, 128),
        f"{prompts}.not_a_point_embed.weight": (1, 256),
        f"{prompts}.no_mask_embed.weight": (1, 256),
        **{f"{prompts}.point_embeddings.{number}.weight": (1, 256) for number in range(4)},
        f"{prompts}.mask_downscaling.0.weight": (4, 1, 2, 2),
        f"{prompts}.mask_downscaling.0.bias": (4,),
        **both(f"{prompts}.mask_downscaling.1", 4),
        f"{prompts}.mask_downscaling.3.weight": (16, 4, 2, 2),
        f"{prompts}.mask_downscaling.3.bias": (16,),
        **both(f"{prompts}.mask_downscaling.4", 16),
        f"{prompts}.mask_downscaling.6.weight": (256, 16, 1, 1),
        f"{prompts}.mask_downscaling.6.bias": (256,),
        **attention(f"{masks}.transformer.final_attn_token_to_image", 128),
        **both(f"{masks}.transformer.norm_final_attn", 256),
        f"{masks}.iou_token.weight": (1, 256),
        f"{masks}.mask_tokens.weight": (4, 256),
        f"{masks}.output_upscaling.0.conv.weight": (64, 256, 3, 3),
        f"{masks}.output_upscaling.0.conv.bias": (64,),
        **both(f"{masks}.output_upscaling.1", 64),
        f"{masks}.output_upscaling.3.conv.weight": (32, 64, 3, 3),
        f"{masks}.output_upscaling.3.conv.bias": (32,),
    }
    for number in range(2):
        inner = f"{masks}.transformer.layers.{number}"
        shapes |= attention(f"{inner}.self_attn", 256)
        shapes |= attention(f"{inner}.cross_attn_token_to_image", 128)
        shapes |= attention(f"{inner}.cross_attn_image_to_token", 128)
        shapes |= linear(f"{inner}.mlp.lin1", 2048, 256) | linear(f"{inner}.mlp.lin2", 256, 2048)
        for norm in range(1, 5):
            shapes |= both(f"{inner}.norm{norm}", 256)
    for at, out in [(f"output_hypernetworks_mlps.{n}", 32) for n in range(4)] + [("iou_prediction_head", 4)]:
        shapes |= linear(f"{masks}.{at}.layers.0", 256, 256) | linear(f"{masks}.{at}.layers.1", 256, 256)
        shapes |= linear(f"{masks}.{at}.layers.2", out, 256)
    return shapes


def on_meta(name: str) -> tuple[VLM, Architecture, list[object]]:
    family, size = next(found for found in families.sizes() if found[1].name == name)
    folder = Folder.listed(size)
    built = family.architecture(folder)
    with torch.device("meta"):
        vlm = VLM(built)
    assert sum(parameter.numel() for parameter in vlm.parameters()) == size.parameters
    return vlm, built, list(family.rules(folder, built).values())


@pytest.mark.parametrize("name", PARTS)
def test_full_size_has_the_published_parameters_by_part(name: str) -> None:
    vlm, _, _ = on_meta(name)
    found: Counter[str] = Counter()
    for parameter, tensor in vlm.named_parameters():
        part = next((part for part in PARTS[name] if parameter.startswith(part)), parameter)
        found[part] += tensor.numel()
    assert found == PARTS[name]


@pytest.mark.parametrize(("name", "published"), [("seal_vqa_7b", vqa()), ("seal_vsm_7b", vsm())])
def test_full_size_has_the_published_names_and_shapes(name: str, published: Shapes) -> None:
    vlm, _, rules = on_meta(name)
    shapes: dict[str, set[tuple[int, ...]]] = {}
    for ours, tensor in held(vlm).items():
        shapes.setdefault(published_name(rules, ours), set()).add(tuple(tensor.shape))
    assert shapes.keys() == published.keys()
    for theirs, found in shapes.items():
        target = next(target for one in rules if (target := one.ours(theirs)))
        stored = torch.empty(published[theirs], device="meta")
        assert {tuple(part.shape) for part in target.apply(stored)} == found, theirs


def test_the_combined_model_has_the_parameters_of_both() -> None:
    made = composed.find("SEAL", ())
    assert made is not None
    assert made.parameters == sum(sum(parts.values()) for parts in PARTS.values())
