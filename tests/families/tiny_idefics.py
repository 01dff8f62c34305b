"""Random tiny IDEFICS checkpoints in the published layout, written by transformers' own class."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

IMAGE_PX = 12
EXTRA = 3
SPECIALS = ["<unk>", "<s>", "</s>"]
EXTRA_TOKENS = ["<fake_token_around_image>", "<image>", "<end_of_utterance>"]

CONFIG: dict[str, Any] = {
    "additional_vocab_size": EXTRA,
    "hidden_size": 16,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "cross_layer_interval": 2,
    "qk_layer_norms": True,
    "use_resampler": True,
    "alpha_type": "float",
    "max_position_embeddings": 256,
    "vision_config": {
        "embed_dim": 12,
        "image_size": IMAGE_PX,
        "patch_size": 6,
        "intermediate_size": 20,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
    },
    "perceiver_config": {
        "qk_layer_norms_perceiver": True,
        "resampler_depth": 1,
        "resampler_head_dim": 6,
        "resampler_n_heads": 2,
        "resampler_n_latents": 3,
    },
}


def tokenizer_json() -> dict[str, Any]:
    """A tokenizer in the form of LLaMA's: blanks become marks, no pre-tokenizer, bytes for whatever is unknown."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:;?!'-▁"
    vocab = {token: n for n, token in enumerate([*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), *letters])}
    merges = [("▁", "a"), ("t", "h"), ("▁", "t"), ("e", "r"), ("o", "n"), ("▁", "o"), ("▁t", "w"), ("▁tw", "o")]
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in EXTRA_TOKENS])
    return json.loads(tokenizer.to_str())


def write_checkpoint(folder: Path, config: dict[str, Any], seed: int, **save: Any) -> Any:
    """A checkpoint at `folder`; returns transformers' model, whose weights it holds. `save`: of `save_pretrained`."""
    import transformers

    held = tokenizer_json()
    vocab = len(held["model"]["vocab"])
    merged = CONFIG | config | {"vocab_size": vocab, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    torch.manual_seed(seed)
    model = transformers.IdeficsForVisionText2Text(transformers.IdeficsConfig(**merged)).eval()
    for name, parameter in model.named_parameters():
        # The classes start norms at one and biases at zero, which would hide a swapped pair.
        scale = 0.3 if parameter.ndim == 1 or "alpha" in name else 0.15
        around = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        parameter.data = torch.randn_like(parameter) * scale + around
    model.tie_weights()
    model.save_pretrained(folder, **save)
    (folder / "config.json").write_text(json.dumps({"model_type": "idefics"} | merged))
    (folder / "tokenizer.json").write_text(json.dumps(held))
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_size": IMAGE_PX}))
    return model
