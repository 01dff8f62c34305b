"""Random tiny Fuyu checkpoints in the published layout, written from transformers' own class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

SPECIALS = ["<unk>", "<s>", "</s>", "|ENDOFTEXT|", "|SPEAKER|", "|NEWLINE|"]
PATCH_ID = SPECIALS.index("|SPEAKER|")
NUMBERS = 60
CANVAS = {"height": 24, "width": 36}

CONFIG: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_act": "relu2",
    "max_position_embeddings": 512,
    "layer_norm_eps": 1e-5,
    "qk_layernorm": True,
    "partial_rotary_factor": 0.5,
    "rope_theta": 25000.0,
    "patch_size": 6,
}

NAMES = (
    ("model.language_model.", "language_model.model."),
    ("model.vision_embed_tokens.", "vision_embed_tokens."),
    ("lm_head.", "language_model.lm_head."),
)
"""transformers' names of today and the published ones."""


def tokenizer_json() -> dict[str, Any]:
    """A tokenizer in the form of Fuyu's: whole numbers as pieces, and bytes for whatever is unknown."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    numbers = [str(number) for number in range(NUMBERS)]
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,:;?!'-<>/\u2581"
    words = ["\u2581the", "\u2581What", "\u2581is", "box", "point"]
    pieces = [*SPECIALS, *numbers, *(f"<0x{byte:02X}>" for byte in range(256)), *letters, *words]
    scores = [0.0 if piece in SPECIALS else -len(pieces[place:]) / 100 for place, piece in enumerate(pieces)]
    vocab = list(zip(pieces, scores, strict=True))
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    added = [AddedToken(token, special=True, normalized=False) for token in ("<unk>", "|ENDOFTEXT|")]
    tokenizer.add_special_tokens(added)
    return json.loads(tokenizer.to_str())


def model(config: dict[str, Any], seed: int) -> Any:
    """transformers' model with random weights. Its rotary base has to be set by hand: it takes another one by itself."""
    import transformers

    merged = CONFIG | config
    text = {
        key: value for key, value in merged.items() if key not in ("patch_size", "rope_theta", "partial_rotary_factor")
    }
    rope = {key: merged[key] for key in ("rope_theta", "partial_rotary_factor")} | {"rope_type": "default"}
    text |= {"model_type": "persimmon", "vocab_size": len(tokenizer_json()["model"]["vocab"]), "rope_parameters": rope}
    torch.manual_seed(seed)
    whole = transformers.FuyuForCausalLM(
        transformers.FuyuConfig(text_config=text, patch_size=merged["patch_size"], image_token_id=PATCH_ID)
    ).eval()
    for name, parameter in whole.named_parameters():
        # The classes start norms at one and biases at zero, which would hide a swapped pair.
        around = 1.0 if "layernorm" in name and name.endswith("weight") else 0.0
        parameter.data = torch.randn_like(parameter) * (0.3 if parameter.ndim == 1 else 0.15) + around
    return whole


def write_checkpoint(folder: Path, config: dict[str, Any], seed: int) -> Any:
    """A checkpoint at `folder`; returns transformers' model, whose weights it holds."""
    whole = model(config, seed)
    write_files(folder, config, {published(name): held.contiguous() for name, held in whole.state_dict().items()})
    return whole


def write_files(folder: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """The files of a published folder; `text_config` holds what differs from Persimmon's own settings, as published."""
    merged = CONFIG | config | {"vocab_size": len(tokenizer_json()["model"]["vocab"])}
    inner = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    text = {"model_type": "persimmon"} | {key: merged[key] for key in inner}
    patch = {"height": merged["patch_size"], "width": merged["patch_size"]}
    files: dict[str, Any] = {
        "config.json": {"model_type": "fuyu", "text_config": text} | merged,
        "preprocessor_config.json": {"size": CANVAS, "patch_size": patch, "image_mean": 0.5, "image_std": 0.5},
        "tokenizer.json": tokenizer_json(),
    }
    for name, held in files.items():
        (folder / name).write_text(json.dumps(held))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def published(name: str) -> str:
    """The published name of a tensor."""
    for today, then in NAMES:
        if name.startswith(today):
            return then + name.removeprefix(today)
    raise AssertionError(f"no published name for {name}")
