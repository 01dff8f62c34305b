"""CLIP's vision tower, as transformers' checkpoints name and describe it, and its image processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flamingo_lab.config import Tower
from flamingo_lab.config.kinds import MOST_PX
from flamingo_lab.errors import BadConfig
from flamingo_lab.layouts import activation, reading, refuse
from flamingo_lab.pixels import (
    CLIP_MEAN,
    CLIP_STD,
    RGB,
    CentreCrop,
    Kernel,
    Normalise,
    OneView,
    Resize,
    ResizeShortest,
    Step,
    triple,
)
from flamingo_lab.weights import Rule, inside

DEFAULTS: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
"""What transformers' `CLIPVisionConfig` assumes where a file is silent."""

LARGE_336: dict[str, Any] = {
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
    }
}
"""openai/clip-vit-large-patch14-336."""

LARGE_224: dict[str, Any] = {"vision_config": LARGE_336["vision_config"] | {"image_size": 224}}
"""openai/clip-vit-large-patch14."""

HUGE_448: dict[str, Any] = {
    "vision_config": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "image_size": 448,
        "patch_size": 14,
        "hidden_act": "gelu",
    }
}
"""LAION's ViT-H/14 at Yi-VL's size."""

LAYER: tuple[Rule, ...] = (
    ("self_attn.{q|k|v|out}_proj.{weight|bias}", "attention.{q|k|v|out}.{weight|bias}"),
    ("layer_norm{1|2}.{weight|bias}", "{attention|mlp}_norm.{weight|bias}"),
    ("mlp.fc{1|2}.{weight|bias}", "mlp.{up|down}.{weight|bias}"),
)

RULES: tuple[Rule, ...] = (
    ("embeddings.class_embedding", "class_token"),
    ("embeddings.{patch|position}_embedding.weight", "{patches.weight|positions}"),
    # "pre_layrnorm" is how the authors spell it.
    ("{pre_layrnorm|post_layernorm}.{weight|bias}", "{pre|post}_norm.{weight|bias}"),
    *inside("encoder.layers.{n}", "layers.{n}", LAYER),
)
"""Of a vision model, without the prefix under which a checkpoint holds it."""

DOES: dict[str, Any] = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255}
"""What image processors do with every picture; one that says otherwise is refused."""

KERNELS: Mapping[int, Kernel] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}

BUFFERS = ("*vision_model.embeddings.position_ids",)

UNREAD = ("text_model.*", "text_projection.weight", "visual_projection.weight", "logit_scale", *BUFFERS)
"""The rest of a whole CLIP model."""


def rules(vision_model: str = "vision_model") -> tuple[Rule, ...]:
    """Rules of a vision model under this prefix."""
    return inside(vision_model, "tower", RULES)


def tower(config: Mapping[str, Any], *, reads_layer: int, drops_first: bool) -> Tower:
    """The tower of a `config.json`, of a whole CLIP model or of its vision model alone.

    `reads_layer` as the authors write it: an entry of `hidden_states`, which begin with what enters the first layer.
    """
    get = DEFAULTS | dict(config.get("vision_config", config))
    with reading("config.json of a CLIP tower"):
        reads_layer = layer(reads_layer, get["num_hidden_layers"])
        return Tower(
            image_px=get["image_size"],
            patch_px=get["patch_size"],
            width=get["hidden_size"],
            layers=get["num_hidden_layers"],
            heads=get["num_attention_heads"],
            mlp_width=get["intermediate_size"],
            activation=activation(get["hidden_act"]),
            norm_eps=get["layer_norm_eps"],
            reads_layer=reads_layer,
            drops_first=drops_first,
        )


def layer(entry: object, layers: int) -> int:
    """The entry of `hidden_states` counted from the end. Raises `BadConfig` where there is none."""
    if not isinstance(entry, int) or not -layers - 1 <= entry <= layers:
        raise BadConfig(f"config.json: the tower's layer {entry!r} is no layer of a tower with {layers}")
    return entry if entry < 0 else entry - layers - 1


def normalise(settings: Mapping[str, Any]) -> Normalise:
    """The last step of a `preprocessor_config.json`."""
    return Normalise(triple(settings, "image_mean", CLIP_MEAN), triple(settings, "image_std", CLIP_STD))


def pipeline(settings: Mapping[str, Any], built: Tower) -> OneView:
    """`CLIPImageProcessor`: the shorter side to the tower's, or both, the middle of it, normalised."""
    refuse(settings, DOES | {"do_center_crop": True}, "preprocessor_config.json")
    crop = side(settings, "crop_size", built.image_px)
    if crop != built.image_px:
        raise BadConfig(f"preprocessor_config.json: crop_size {crop}, but the tower takes {built.image_px}")
    return OneView((RGB(), resizing(settings, built), CentreCrop(crop)), normalise(settings))


def resizing(settings: Mapping[str, Any], built: Tower) -> Step:
    """The step that `size` describes: one number, or `shortest_edge`, keeps the aspect ratio."""
    held = settings.get("size")
    if isinstance(held, Mapping) and "shortest_edge" not in held and held.keys() >= {"height", "width"}:
        return Resize(held["width"], held["height"], kernel(settings))
    return ResizeShortest(side(settings, "size", built.image_px), kernel(settings))


def kernel(settings: Mapping[str, Any]) -> Kernel:
    """The kernel of `resample`, which is Pillow's number of it."""
    number = settings.get("resample", 3)
    if number not in KERNELS:
        raise BadConfig(f"preprocessor_config.json: resample is {number!r}, none of {', '.join(map(str, KERNELS))}")
    return KERNELS[number]


def side(settings: Mapping[str, Any], key: str, default: int) -> int:
    """A side in pixels, given as a number or by name."""
    held = settings.get(key, default)
    if isinstance(held, Mapping):
        held = held.get("shortest_edge", held.get("height"))
    if not isinstance(held, int) or not 0 < held <= MOST_PX:
        raise BadConfig(f"preprocessor_config.json: {key} is {settings[key]!r}; a side in pixels is expected")
    return held
