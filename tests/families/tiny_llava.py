"""Random tiny checkpoints of the LLaVA line in its published layouts, their weights those of transformers' classes."""

from __future__ import annotations

import io
import json
import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image as pil
from safetensors.torch import save_file
from sentencepiece import SentencePieceTrainer
from torch import Tensor, nn

import flamingo_lab as fl
from tests.families.tiny_idefics import tokenizer_json

TEXT = (
    "a the red blue car two dogs sofa what is it on old tree near river USER ASSISTANT Human Assistant image colour "
    "describe answer the question using single word or phrase there in this picture helpful polite"
)

CONFIG: dict[str, Any] = {
    "model_type": "llava",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "mm_vision_tower": "openai/clip-vit-large-patch14-336",
    "mm_hidden_size": 12,
    "mm_vision_select_layer": -2,
    "mm_projector_type": "mlp2x_gelu",
    "mm_use_im_patch_token": False,
    "mm_use_im_start_end": False,
    "image_aspect_ratio": "pad",
}
"""Of LLaVA-1.5, small."""

ANYRES: dict[str, Any] = {
    "image_aspect_ratio": "anyres",
    "image_grid_pinpoints": [[12, 24], [24, 12], [24, 24], [36, 12], [12, 36]],
    "mm_patch_merge_type": "spatial_unpad",
    "unfreeze_mm_vision_tower": True,
}
"""What LLaVA-1.6 has besides, for a tower of 12 pixels."""

TOWER: dict[str, Any] = {
    "hidden_size": 12,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 12,
    "patch_size": 6,
}

TOKENIZER: dict[str, Any] = {"add_bos_token": True, "legacy": False}


@dataclass(frozen=True)
class Tiny:
    """A checkpoint's folder beside its tower's, and transformers' modules with the same weights."""

    path: Path
    vision: Path
    decoder: Any
    tower: Any
    projector: nn.Sequential
    newline: Tensor

    def load(self, **options: Any) -> fl.LoadedModel:
        return fl.load(self.path, vision=self.vision, dtype="float32", device="cpu", **options)


@cache
def sentencepiece(**options: Any) -> bytes:
    """A SentencePiece model of LLaMA's kind: BPE with bytes, no normalisation, a mark before the first word."""
    draw = random.Random(0)
    lines = [" ".join(draw.choices(TEXT.split(), k=8)) + "." for _ in range(150)]
    model = io.BytesIO()
    kind = {"model_type": "bpe", "vocab_size": 360, "byte_fallback": True, "character_coverage": 1.0}
    ids = {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1}
    plain = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    settings = kind | ids | plain | {"num_threads": 1, "minloglevel": 2} | options
    SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, **settings)
    return model.getvalue()


def random_weights(model: nn.Module, seed: int) -> Any:
    """The classes start norms at one and biases at zero, which would hide a swapped pair.

    Wide matrices are smaller, or float32's rounding would grow from layer to layer until it decides tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        scale = 0.3 if parameter.ndim == 1 else min(0.25, 2 * parameter[0].numel() ** -0.5)
        around = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        parameter.data = torch.randn(parameter.shape, generator=generator) * scale + around
    return model.eval()


def decoder_of(config: dict[str, Any], vocab: int) -> Any:
    """transformers' decoder of an original config.json."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    shared = {key: config[key] for key in (*names, "rms_norm_eps", "max_position_embeddings") if key in config}
    # Version 5 reads the base from here; a plain rope_theta is what the files hold.
    turn = {"rope_type": "default", "rope_theta": config.get("rope_theta", 10_000.0)}
    if scaling := config.get("rope_scaling"):
        turn |= {"rope_type": scaling["type"], "factor": scaling["factor"]}
    shared |= {"vocab_size": vocab, "rope_parameters": turn}
    shared["tie_word_embeddings"] = config.get("tie_word_embeddings", False)
    if config["model_type"] == "llava_mistral":
        window = config.get("sliding_window")
        return transformers.MistralForCausalLM(transformers.MistralConfig(**shared, sliding_window=window))
    biases = {key: config.get(key, False) for key in ("attention_bias", "mlp_bias")}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**shared, **biases))


def projector_of(kind: str, width: int, out_width: int) -> nn.Sequential:
    """The projector as the authors stack it."""
    depth = 1 if kind == "linear" else int(kind[3])
    layers: list[nn.Module] = [nn.Linear(width, out_width)]
    for _ in range(depth - 1):
        layers += [nn.GELU(), nn.Linear(out_width, out_width)]
    return nn.Sequential(*layers)


def write(
    root: Path,
    config: dict[str, Any] | None = None,
    tower: dict[str, Any] | None = None,
    *,
    tokenizer: dict[str, Any] | None = None,
    added: dict[str, int] | None = None,
    vocab: int | None = None,
    seed: int = 0,
) -> Tiny:
    """A checkpoint in the authors' layout at `root / "model"`, its tower's repository at `root / "clip"`."""
    config, tower, added = CONFIG | (config or {}), TOWER | (tower or {}), added or {}
    path, vision = root / "model", root / "clip"
    rows = vocab or 360 + len(added)
    config |= {"vocab_size": rows, "mm_hidden_size": tower["hidden_size"]}
    held = Tiny(
        path,
        vision,
        random_weights(decoder_of(config, rows), seed),
        random_weights(transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**tower)), seed + 1),
        random_weights(
            projector_of(config["mm_projector_type"], tower["hidden_size"], config["hidden_size"]), seed + 2
        ),
        torch.randn(config["hidden_size"], generator=torch.Generator().manual_seed(seed + 3)),
    )
    of_tower = {f"vision_model.{name}": tensor for name, tensor in held.tower.state_dict().items()}
    own = dict(held.decoder.state_dict()) | projector_tensors(held, config["mm_projector_type"])
    if config["image_aspect_ratio"] == "anyres":
        inner = {f"model.vision_tower.vision_tower.{name}": tensor for name, tensor in of_tower.items()}
        own |= inner | {"model.image_newline": held.newline}
        # The repository's own tower is another one, so that reading it instead shows.
        of_tower = {name: tensor + 1 for name, tensor in of_tower.items()}
    save(path, own)
    save(vision, of_tower | {"logit_scale": torch.tensor(1.0)})
    (path / "config.json").write_text(json.dumps(config))
    (path / "tokenizer.model").write_bytes(sentencepiece())
    (path / "tokenizer_config.json").write_text(json.dumps(TOKENIZER if tokenizer is None else tokenizer))
    if added:
        (path / "added_tokens.json").write_text(json.dumps(added))
    (vision / "config.json").write_text(json.dumps({"vision_config": tower}))
    side = tower["image_size"]
    (vision / "preprocessor_config.json").write_text(json.dumps({"size": side, "crop_size": side}))
    return held


def projector_tensors(held: Tiny, kind: str) -> dict[str, Tensor]:
    """The projector's tensors; a linear one has no number in its names."""
    tensors = held.projector.state_dict().items()
    return {
        f"model.mm_projector.{name.removeprefix('0.') if kind == 'linear' else name}": tensor
        for name, tensor in tensors
    }


def write_converted(folder: Path, decoder: dict[str, Any], tower: dict[str, Any], seed: int) -> Any:
    """A checkpoint in the layout of llava-hf; returns transformers' model with the same weights."""
    tokenizer = tokenizer_json()
    mark = next(token["id"] for token in tokenizer["added_tokens"] if token["content"] == "<image>")
    text = decoder_of(decoder | {"model_type": "llava"}, mark + 20).config
    vision = transformers.CLIPVisionConfig(**tower)
    config = transformers.LlavaConfig(text_config=text, vision_config=vision, image_token_index=mark)
    model = random_weights(transformers.LlavaForConditionalGeneration(config), seed)
    published = {
        "model.language_model.": "language_model.model.",
        "model.vision_tower.": "vision_tower.vision_model.",
        "model.multi_modal_projector.": "multi_modal_projector.",
        "lm_head.": "language_model.lm_head.",
    }
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        prefix = next(one for one in published if name.startswith(one))
        tensors[published[prefix] + name.removeprefix(prefix)] = tensor.clone()
    save_file(tensors, folder / "model.safetensors")
    written = {
        "model_type": "llava",
        "image_token_index": mark,
        "text_config": decoder | {"model_type": "llama", "vocab_size": mark + 20},
        "vision_config": tower | {"model_type": "clip_vision_model"},
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
    }
    (folder / "config.json").write_text(json.dumps(written))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    size = {"size": {"shortest_edge": 12}, "crop_size": {"height": 12, "width": 12}}
    (folder / "preprocessor_config.json").write_text(json.dumps(size))
    return model


def save(folder: Path, tensors: dict[str, Tensor]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors")


def edit(file: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes a key out."""
    held = json.loads(file.read_text()) if file.is_file() else {}
    held = {key: value for key, value in (held | changes).items() if value is not None}
    file.write_text(json.dumps(held))


def picture(seed: int, size: tuple[int, int] | None = None) -> fl.Image:
    draw = np.random.default_rng(seed)
    width, height = size or (int(draw.integers(5, 60)), int(draw.integers(5, 60)))
    return fl.Image(pil.fromarray(draw.integers(0, 256, (height, width, 3), dtype=np.uint8)))
