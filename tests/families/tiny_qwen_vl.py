"""Random tiny Qwen-VL checkpoints in the published layout, whose names and shapes are written down apart from the rules."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

Shapes = dict[str, tuple[int, ...]]

MERGES = ("th", "the", " a", "er", " p", "ict", "ure", "us", "ass", "  ", "\n\n", "é", "ing", "Pict", "an", "in")
TOKENS = 256 + len(MERGES)
SPECIALS = 217
"""<|endoftext|>, <|im_start|>, <|im_end|>, 205 extra ones, and nine for phrases, boxes and pictures."""

END_OF_TEXT, IM_START, IM_END, EXTRA_0 = range(TOKENS, TOKENS + 4)
REF, REF_END, BOX, BOX_END, QUAD, QUAD_END, IMG, IMG_END, IMG_PAD = range(TOKENS + 208, TOKENS + SPECIALS)
VOCAB = TOKENS + SPECIALS + 6
"""A few rows have no token, as in the published models."""

CONFIG: dict[str, Any] = {
    "model_type": "qwen",
    "vocab_size": VOCAB,
    "hidden_size": 128,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "kv_channels": 32,
    "layer_norm_epsilon": 1e-6,
    "max_position_embeddings": 4096,
    "no_bias": True,
    "rotary_emb_base": 10000,
    "rotary_pct": 1.0,
    "seq_length": 300,
    "use_dynamic_ntk": True,
    "use_logn_attn": True,
    "visual": {
        "heads": 2,
        "image_size": 18,
        "image_start_id": IMG,
        "layers": 2,
        "mlp_ratio": 2.5,
        "output_dim": 128,
        "patch_size": 6,
        "width": 12,
    },
}


def both(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def published(config: dict[str, Any]) -> Shapes:
    """Names and shapes of the published files."""
    width, inner, vocab = config["hidden_size"], config["intermediate_size"] // 2, config["vocab_size"]
    shapes: Shapes = {
        "transformer.wte.weight": (vocab, width),
        "transformer.ln_f.weight": (width,),
        "lm_head.weight": (vocab, width),
    }
    for number in range(config["num_hidden_layers"]):
        at = f"transformer.h.{number}"
        shapes |= {f"{at}.ln_1.weight": (width,), f"{at}.ln_2.weight": (width,)}
        shapes |= both(f"{at}.attn.c_attn", 3 * width, width)
        shapes |= {f"{at}.attn.c_proj.weight": (width, width), f"{at}.mlp.c_proj.weight": (width, inner)}
        shapes |= {f"{at}.mlp.{name}.weight": (inner, width) for name in ("w1", "w2")}
    return shapes | vision(config["visual"])


def vision(config: dict[str, Any]) -> Shapes:
    at, width, out, patch = "transformer.visual", config["width"], config["output_dim"], config["patch_size"]
    inner = int(width * config["mlp_ratio"])
    shapes: Shapes = {
        f"{at}.conv1.weight": (width, 3, patch, patch),
        f"{at}.positional_embedding": (256, width),
        **both(f"{at}.ln_pre", width),
        f"{at}.attn_pool.query": (256, out),
        f"{at}.attn_pool.pos_embed": (256, out),
        f"{at}.attn_pool.kv_proj.weight": (out, width),
        f"{at}.attn_pool.attn.in_proj_weight": (3 * out, out),
        f"{at}.attn_pool.attn.in_proj_bias": (3 * out,),
        **both(f"{at}.attn_pool.attn.out_proj", out, out),
        **both(f"{at}.attn_pool.ln_q", out),
        **both(f"{at}.attn_pool.ln_kv", out),
        **both(f"{at}.ln_post", out),
        f"{at}.proj": (out, out),
    }
    for number in range(config["layers"]):
        layer = f"{at}.transformer.resblocks.{number}"
        shapes |= both(f"{layer}.ln_1", width) | both(f"{layer}.ln_2", width)
        shapes |= both(f"{layer}.attn.in_proj", 3 * width, width) | both(f"{layer}.attn.out_proj", width, width)
        shapes |= both(f"{layer}.mlp.c_fc", inner, width) | both(f"{layer}.mlp.c_proj", width, inner)
    return shapes


def vocabulary() -> bytes:
    """A qwen.tiktoken in which a byte's rank is not its value, as in the published one."""
    tokens = [bytes([(byte + 33) % 256]) for byte in range(256)] + [merge.encode() for merge in MERGES]
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))


def write_checkpoint(
    folder: Path, seed: int, *, chat_format: str = "chatml", **changes: Any
) -> dict[str, torch.Tensor]:
    """A checkpoint at `folder` with these changes to `CONFIG`; returns its tensors."""
    config = CONFIG | changes
    # A picture's tokens are as wide as the decoder's.
    config["visual"] = config["visual"] | {"output_dim": config["hidden_size"]}
    random = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for name, shape in published(config).items():
        around = 1.0 if ".ln_" in name and name.endswith("weight") else 0.0
        tensors[name] = torch.randn(shape, generator=random) * (0.3 if len(shape) == 1 else 0.15) + around
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"chat_format": chat_format}))
    (folder / "qwen.tiktoken").write_bytes(vocabulary())
    return tensors
