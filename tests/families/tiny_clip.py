"""A random tiny CLIP by transformers' class, on disk in both layouts in which its weights are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

IMAGE_PX = 12
PROJECTION = 10

VISION: dict[str, Any] = {
    "hidden_size": 12,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": IMAGE_PX,
    "patch_size": 6,
    "hidden_act": "quick_gelu",
}


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """The module with weights that hide no swapped pair: the classes start norms at one and biases at zero."""
    for name, parameter in module.named_parameters():
        is_norm = "norm" in name and name.endswith("weight")
        parameter.data = torch.randn_like(parameter) * (0.3 if parameter.ndim == 1 else 0.15) + is_norm
    return module.eval()


def tiny_clip(vision: dict[str, Any]) -> Any:
    """transformers' model with a text model of next to nothing."""
    text = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 9}
    text |= {"bos_token_id": 7, "eos_token_id": 8}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=PROJECTION)
    return shaken(transformers.CLIPModel(config))


def write_clip(clip: Any, folder: Path) -> None:
    """The model in the folders vision, as transformers has it, and vision_open_clip."""
    seen = clip.config.vision_config
    theirs, ours = folder / "vision", folder / "vision_open_clip"
    theirs.mkdir(parents=True, exist_ok=True)
    ours.mkdir(parents=True, exist_ok=True)
    torch.save(clip.state_dict(), theirs / "pytorch_model.bin")
    described = {key: getattr(seen, key) for key in VISION}
    (theirs / "config.json").write_text(json.dumps({"vision_config": described, "projection_dim": PROJECTION}))
    torch.save(open_clip_tensors(clip), ours / "open_clip_pytorch_model.bin")
    vision_cfg = {
        "image_size": seen.image_size,
        "layers": seen.num_hidden_layers,
        "width": seen.hidden_size,
        "head_width": seen.hidden_size // seen.num_attention_heads,
        "patch_size": seen.patch_size,
        "mlp_ratio": seen.intermediate_size / seen.hidden_size,
    }
    model_cfg = {"embed_dim": PROJECTION, "vision_cfg": vision_cfg, "quick_gelu": seen.hidden_act == "quick_gelu"}
    (ours / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg}))


def open_clip_tensors(model: Any) -> dict[str, Tensor]:
    """transformers' CLIP under open_clip's names."""
    tensors = model.state_dict()
    vision = "vision_model."
    held = {
        "visual.class_embedding": tensors[f"{vision}embeddings.class_embedding"],
        "visual.positional_embedding": tensors[f"{vision}embeddings.position_embedding.weight"],
        "visual.conv1.weight": tensors[f"{vision}embeddings.patch_embedding.weight"],
        "visual.proj": tensors["visual_projection.weight"].T.contiguous(),
        "logit_scale": tensors["logit_scale"],
        "token_embedding.weight": tensors["text_model.embeddings.token_embedding.weight"],
        "transformer.resblocks.0.ln_1.weight": torch.ones(4),
    }
    for kind in ("weight", "bias"):
        held[f"visual.ln_pre.{kind}"] = tensors[f"{vision}pre_layrnorm.{kind}"]
        held[f"visual.ln_post.{kind}"] = tensors[f"{vision}post_layernorm.{kind}"]
        for number in range(model.config.vision_config.num_hidden_layers):
            theirs, ours = f"{vision}encoder.layers.{number}", f"visual.transformer.resblocks.{number}"
            fused = [tensors[f"{theirs}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            held[f"{ours}.attn.in_proj_{kind}"] = torch.cat(fused)
            held[f"{ours}.attn.out_proj.{kind}"] = tensors[f"{theirs}.self_attn.out_proj.{kind}"]
            for our, their in (("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"), ("mlp.c_fc", "mlp.fc1")):
                held[f"{ours}.{our}.{kind}"] = tensors[f"{theirs}.{their}.{kind}"]
            held[f"{ours}.mlp.c_proj.{kind}"] = tensors[f"{theirs}.mlp.fc2.{kind}"]
    return held
