"""OWL-ViT's picture side, as transformers' checkpoints name and describe it, and its image processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flamingo_lab.config import Tower
from flamingo_lab.errors import BadConfig
from flamingo_lab.layouts import activation, clip, reading, refuse
from flamingo_lab.pixels import RGB, OneView, Resize
from flamingo_lab.weights import Rule, inside

BASE_16: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 768,
    "patch_size": 16,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
"""google/owlvit-base-patch16."""

RULES: tuple[Rule, ...] = (
    ("vision_model.embeddings.class_embedding", "tower.class_token"),
    ("vision_model.embeddings.{patch|position}_embedding.weight", "tower.{patches.weight|positions}"),
    ("vision_model.{pre|post}_layernorm.{weight|bias}", "tower.{pre|post}_norm.{weight|bias}"),
    *inside("vision_model.encoder.layers.{n}", "tower.layers.{n}", clip.LAYER),
    ("layer_norm.{weight|bias}", "norm.{weight|bias}"),
    ("box_head.dense{n}.{weight|bias}", "box_head.layers.{n}.{weight|bias}"),
    (
        "class_head.{dense0|logit_shift|logit_scale}.{weight|bias}",
        "class_head.{to_query|shift|scale}.{weight|bias}",
    ),
)
"""Of a detector, without the prefix under which a checkpoint holds it."""

BUFFERS = ("*owlvit.vision_model.embeddings.position_ids", "*owlvit.box_bias")


def tower(config: Mapping[str, Any]) -> Tower:
    """The tower of a `config.json`, the published one's where there is none."""
    get = BASE_16 | dict(config.get("vision_config", config))
    with reading("config.json of an OWL-ViT"):
        return Tower(
            image_px=get["image_size"],
            patch_px=get["patch_size"],
            width=get["hidden_size"],
            layers=get["num_hidden_layers"],
            heads=get["num_attention_heads"],
            mlp_width=get["intermediate_size"],
            activation=activation(get["hidden_act"]),
            norm_eps=get["layer_norm_eps"],
        )


def pipeline(settings: Mapping[str, Any], built: Tower) -> OneView:
    """`OwlViTImageProcessor`: straight to the tower's square; the aspect ratio is not kept."""
    refuse(settings, clip.DOES | {"do_center_crop": False}, "preprocessor_config.json")
    size = settings.get("size", built.image_px)
    sides = list(size.values()) if isinstance(size, Mapping) else size if isinstance(size, list) else [size, size]
    if sides != [built.image_px, built.image_px]:
        raise BadConfig(f"preprocessor_config.json: size {size}, but the tower takes {built.image_px}")
    return OneView((RGB(), Resize(built.image_px, built.image_px, clip.kernel(settings))), clip.normalise(settings))
