"""Random tiny towers in folders of their own, as CLIP and SigLIP are published, written by transformers' own classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

IMAGE_PX = 12


def randomised(model: torch.nn.Module, seed: int) -> None:
    """Every parameter drawn anew, norms and biases too, so that none of them can be left out unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_scale = "norm" in name and name.endswith("weight")
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3 + is_scale)


def write_clip(folder: Path, seed: int, **config: Any) -> transformers.CLIPVisionModel:
    """A CLIP tower; its post-norm's and its text model's tensors lie beside it as in a whole CLIP."""
    settings = {"image_size": IMAGE_PX, "patch_size": 6, "num_hidden_layers": 2, "num_attention_heads": 2} | config
    model = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**settings)).eval()
    rest = {"logit_scale": torch.ones(()), "text_model.final_layer_norm.weight": torch.ones(4)}
    preprocessor = {
        "crop_size": IMAGE_PX,
        "size": IMAGE_PX,
        "image_mean": [0.48, 0.46, 0.41],
        "image_std": [0.27, 0.26, 0.28],
    }
    _write(folder, model, seed, {"vision_config": settings}, preprocessor, rest)
    return model


def write_siglip(folder: Path, seed: int, **config: Any) -> transformers.SiglipVisionModel:
    """A SigLIP tower, with the pooling head that the published files have."""
    settings = {"image_size": IMAGE_PX, "patch_size": 6, "num_hidden_layers": 2, "num_attention_heads": 2} | config
    model = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**settings)).eval()
    side = {"height": IMAGE_PX, "width": IMAGE_PX}
    preprocessor = {"size": side, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    _write(
        folder,
        model,
        seed,
        {"model_type": "siglip", "vision_config": settings},
        preprocessor,
        {"logit_bias": torch.ones(1)},
    )
    return model


def _write(
    folder: Path,
    model: torch.nn.Module,
    seed: int,
    config: dict[str, Any],
    preprocessor: dict[str, Any],
    rest: dict[str, torch.Tensor],
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    randomised(model, seed)
    tensors = {f"vision_model.{name}": tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(tensors | rest, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
