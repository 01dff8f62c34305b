"""SigLIP's vision tower, as transformers' checkpoints name and describe it, and its image processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flamingo_lab.config import Tower
from flamingo_lab.errors import BadConfig
from flamingo_lab.layouts import activation, clip, reading, refuse
from flamingo_lab.pixels import RGB, Normalise, OneView, Resize, triple
from flamingo_lab.weights import Rule, inside

DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
"""What transformers' `SiglipVisionConfig` assumes where a file is silent."""

SO400M_384: dict[str, Any] = {
    "model_type": "siglip",
    "vision_config": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
    },
}
"""google/siglip-so400m-patch14-384."""

RULES: tuple[Rule, ...] = (
    ("embeddings.patch_embedding.{weight|bias}", "patches.{weight|bias}"),
    ("embeddings.position_embedding.weight", "positions"),
    ("post_layernorm.{weight|bias}", "post_norm.{weight|bias}"),
    *inside("encoder.layers.{n}", "layers.{n}", clip.LAYER),
)
"""Of a vision model, without the prefix under which a checkpoint holds it."""

UNREAD = (
    *("text_model.*", "vision_model.head.*", "logit_scale", "logit_bias"),
    "vision_model.embeddings.position_ids",
)
"""The rest of a whole SigLIP model: its texts, and the pooling of a picture to one vector."""

HALF = (0.5, 0.5, 0.5)


def rules(vision_model: str = "vision_model") -> tuple[Rule, ...]:
    """Rules of a vision model under this prefix."""
    return inside(vision_model, "tower", RULES)


def tower(config: Mapping[str, Any], *, reads_layer: int, drops_first: bool) -> Tower:
    """The tower of a `config.json`, of a whole SigLIP model or of its vision model alone. It has no class token."""
    get = DEFAULTS | dict(config.get("vision_config", config))
    with reading("config.json of a SigLIP tower"):
        return Tower(
            image_px=get["image_size"],
            patch_px=get["patch_size"],
            width=get["hidden_size"],
            layers=get["num_hidden_layers"],
            heads=get["num_attention_heads"],
            mlp_width=get["intermediate_size"],
            activation=activation(get["hidden_act"]),
            norm_eps=get["layer_norm_eps"],
            has_class_token=False,
            has_patch_bias=True,
            has_pre_norm=False,
            reads_layer=reads_layer,
            drops_first=drops_first,
        )


def pipeline(settings: Mapping[str, Any], built: Tower) -> OneView:
    """`SiglipImageProcessor`: straight to the tower's square, normalised."""
    refuse(settings, clip.DOES, "preprocessor_config.json")
    size = settings.get("size", {"height": built.image_px, "width": built.image_px})
    if size != {"height": built.image_px, "width": built.image_px}:
        raise BadConfig(f"preprocessor_config.json: size {size!r}, but the tower takes {built.image_px}")
    normalise = Normalise(triple(settings, "image_mean", HALF), triple(settings, "image_std", HALF))
    return OneView((RGB(), Resize(built.image_px, built.image_px, clip.kernel(settings))), normalise)
