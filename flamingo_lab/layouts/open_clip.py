"""CLIP's vision tower as open_clip's checkpoints name and describe it.

Tokens are read before the norm behind the last layer, as open_clip gave them until 2.20; later releases give them behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flamingo_lab.config import Tower
from flamingo_lab.errors import BadConfig
from flamingo_lab.layouts import reading
from flamingo_lab.pixels import CLIP_MEAN, CLIP_STD, Normalise, triple
from flamingo_lab.weights import Rule, Split, inside, thirds, transposed

if TYPE_CHECKING:
    from flamingo_lab.checkpoint import Checkpoint
    from flamingo_lab.family import Folder

CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
"""Repositories may hold the same model in other layouts beside these."""

LAYER: tuple[Rule, ...] = (
    Split("attn.in_proj_{weight|bias}", tuple(f"attention.{part}.{{weight|bias}}" for part in "qkv"), thirds),
    ("attn.out_proj.{weight|bias}", "attention.out.{weight|bias}"),
    ("ln_{1|2}.{weight|bias}", "{attention|mlp}_norm.{weight|bias}"),
    ("mlp.{c_fc|c_proj}.{weight|bias}", "mlp.{up|down}.{weight|bias}"),
)

RULES: tuple[Rule, ...] = (
    ("visual.{class|positional}_embedding", "tower.{class_token|positions}"),
    ("visual.conv1.weight", "tower.patches.weight"),
    ("visual.ln_{pre|post}.{weight|bias}", "tower.{pre|post}_norm.{weight|bias}"),
    *inside("visual.transformer.resblocks.{n}", "tower.layers.{n}", LAYER),
    Split("visual.proj", ("tower.projection.weight",), transposed),
)

UNREAD = (
    "transformer.*",
    "token_embedding.weight",
    "positional_embedding",
    "ln_final.*",
    "text_projection",
    "logit_scale",
)
"""The text tower."""


def tower(folder: Folder, *, reads_layer: int, drops_first: bool) -> Tower:
    """The tower of an `open_clip_config.json`.

    Where it is silent the activation is OpenAI's: open_clip's own description of ViT-L-14 is silent, and its loader of
    OpenAI's weights set the activation itself until 2.26.
    """
    model: Mapping[str, Any] = folder.json(CONFIG).get("model_cfg", {})
    with reading(CONFIG):
        vision = model["vision_cfg"]
        width = vision["width"]
        if not isinstance(vision["layers"], int):
            raise BadConfig(f"{folder.path / CONFIG}: layers {vision['layers']!r} are no vision transformer's")
        return Tower(
            image_px=vision["image_size"],
            patch_px=vision["patch_size"],
            width=width,
            layers=vision["layers"],
            heads=width // vision.get("head_width", 64),
            mlp_width=int(width * vision.get("mlp_ratio", 4.0)),
            activation="quick_gelu" if model.get("quick_gelu", True) else "gelu",
            reads_layer=reads_layer,
            drops_first=drops_first,
            projection=model["embed_dim"],
        )


def normalise(folder: Folder) -> Normalise:
    """The last step of the processor that an `open_clip_config.json` describes."""
    settings = folder.json(CONFIG).get("preprocess_cfg", {})
    return Normalise(triple(settings, "mean", CLIP_MEAN, CONFIG), triple(settings, "std", CLIP_STD, CONFIG))


def checkpoint(folder: Folder) -> Checkpoint:
    """The headers of the weights in this layout."""
    from flamingo_lab.checkpoint import open_file

    for name in WEIGHTS:
        if folder.has(name):
            return open_file(folder.path / name)
    raise BadConfig(f"{folder.path}: {CONFIG} without its weights; expected one of {', '.join(WEIGHTS)}")
