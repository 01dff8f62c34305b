"""Random tiny MoE-LLaVA checkpoints in the published layouts, made of transformers' dense decoders and towers.

A layer with experts holds several; with `copies` they are all the dense layer's own branch, and as their weights add up to
one the model is the dense one. transformers has no class for Qwen's first generation; Qwen2's is the same without its
biases, its rotary bases by length and its queries by length.
"""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.families.tiny_towers import randomised, write_clip, write_siglip

KINDS = ("phi", "stablelm", "qwen")
MERGES = ("i s", "t h", "th e", "Ġ a", "Ġ the", "o n", "Ġ ?")
PAD_ROWS = 5
"""Rows of the vocabulary behind the tokenizer's, which the loader cuts."""

PLAIN: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "moe_layers_idx": [0, 2],
    "num_experts": [4, 3],
}


class Theirs(NamedTuple):
    """The dense model, of transformers' tower and decoder and torch's own layers."""

    tower: Any
    projector: nn.Module
    decoder: Any

    def picture(self, pixels: Tensor) -> Tensor:
        """Picture tokens (P, D) of pixels (1, 3, H, W)."""
        return self.projector(self.tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:])[0]


def letters() -> list[str]:
    """The 256 letters of a byte-level vocabulary in GPT-2's order, printable bytes first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [*map(chr, printable), *(chr(256 + place) for place in range(256 - len(printable)))]


def write_tokenizer(folder: Path, kind: str) -> int:
    """The tokenizer's files; gives the number of its ids."""
    merged = [pair.replace(" ", "") for pair in MERGES]
    if kind == "phi":
        own = {letter: number for number, letter in enumerate([*letters(), *merged, "<|endoftext|>"])}
        added = {"  ": len(own), "\t\t": len(own) + 1, "<|extra_0|>": len(own) + 2}
        (folder / "vocab.json").write_text(json.dumps(own))
        (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]))
        (folder / "added_tokens.json").write_text(json.dumps(added))
        named = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
        settings = named | {"unk_token": {"content": "<|extra_0|>"}, "clean_up_tokenization_spaces": True}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        return len(own) + len(added)
    spelt = [bytes(byte for byte in range(256) if chr(byte) == letter) for letter in letters()]
    ranks = [word or bytes([byte]) for word, byte in zip(spelt, _rest(spelt), strict=True)]
    ranks += [word.replace("Ġ", " ").encode() for word in merged]
    lines = [f"{base64.b64encode(word).decode()} {rank}" for rank, word in enumerate(ranks)]
    name, count = ("qwen.tiktoken", 208) if kind == "qwen" else ("arcade100k.tiktoken", 33)
    (folder / name).write_text("\n".join([*lines, ""]))
    return len(ranks) + count


def _rest(spelt: list[bytes]) -> list[int]:
    """For each letter without a byte of its own, the next byte that no letter spells."""
    left = iter([byte for byte in range(256) if bytes([byte]) not in spelt])
    return [0 if word else next(left) for word in spelt]


def dense(kind: str, config: dict[str, Any]) -> Any:
    """transformers' decoder of this kind."""
    taken = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    given = {key: config[key] for key in taken} | {"tie_word_embeddings": config.get("tie_word_embeddings", False)}
    if kind == "phi":
        given |= {"partial_rotary_factor": config.get("partial_rotary_factor", 0.5), "resid_pdrop": 0.0}
        return transformers.PhiForCausalLM(transformers.PhiConfig(**given)).eval()
    if kind == "stablelm":
        given |= {"use_qkv_bias": True, "partial_rotary_factor": config.get("rope_pct", 0.25)}
        given |= {"num_key_value_heads": config.get("num_key_value_heads", given["num_attention_heads"])}
        return transformers.StableLmForCausalLM(transformers.StableLmConfig(**given)).eval()
    given |= {"num_key_value_heads": given["num_attention_heads"], "rope_theta": 10_000.0, "rms_norm_eps": 1e-6}
    return transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**given)).eval()


def published(kind: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's tensors under the authors' names, its branches not yet experts."""
    if kind != "qwen":
        return {name: tensor for name, tensor in state.items() if name != "lm_head.bias"}
    named: dict[str, Tensor] = {}
    for name, tensor in state.items():
        part = re.fullmatch(r"(.*)self_attn\.([qkv])_proj\.(weight|bias)", name)
        if part is None:
            named[name] = tensor
        elif part[2] == "q":
            all_three = [state[f"{part[1]}self_attn.{one}_proj.{part[3]}"] for one in "qkv"]
            named[f"{part[1]}attn.c_attn.{part[3]}"] = torch.cat(all_three)
    renames = {
        "model.embed_tokens": "transformer.wte",
        "model.norm": "transformer.ln_f",
        "model.layers": "transformer.h",
        "self_attn.o_proj": "attn.c_proj",
        "mlp.gate_proj": "mlp.w2",
        "mlp.up_proj": "mlp.w1",
        "mlp.down_proj": "mlp.c_proj",
        "input_layernorm": "ln_1",
        "post_attention_layernorm": "ln_2",
    }
    for theirs, ours in renames.items():
        named = {name.replace(theirs, ours): tensor for name, tensor in named.items()}
    return named


def with_experts(tensors: dict[str, Tensor], config: dict[str, Any], seed: int, copies: bool) -> dict[str, Tensor]:
    """The chosen layers' branches as experts, and routers; all experts the same, or each one drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    counts = dict(zip(map(str, config["moe_layers_idx"]), config["num_experts"], strict=True))
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        found = re.fullmatch(r"(.*\.(?:layers|h)\.(\d+)\.mlp)\.(.*)", name)
        if found is None or found[2] not in counts:
            named[name] = tensor
            continue
        inner = f"{found[1]}.deepspeed_moe"
        for expert in range(counts[found[2]]):
            drawn = tensor if copies else torch.randn(tensor.shape, generator=generator) * 0.4
            named[f"{inner}.experts.deepspeed_experts.{expert}.{found[3]}"] = drawn.clone()
        if config.get("use_residual"):
            named[f"{found[1]}.mlp.{found[3]}"] = tensor.clone()
            named.setdefault(
                f"{found[1]}.coefficient.weight", torch.randn(2, config["hidden_size"], generator=generator)
            )
            named.setdefault(f"{found[1]}.coefficient.bias", torch.randn(2, generator=generator))
        shape = (counts[found[2]], config["hidden_size"])
        named.setdefault(f"{inner}.gate.wg.weight", torch.randn(shape, generator=generator))
    return named


def write_checkpoint(
    folder: Path,
    kind: str = "phi",
    config: dict[str, Any] | None = None,
    *,
    tower: str = "clip",
    seed: int = 0,
    copies: bool = False,
    capacity_factor: float = 2.0,
) -> Theirs:
    """A checkpoint under `folder/model` and its tower under `folder/vision`, and the dense model."""
    model = folder / "model"
    model.mkdir(parents=True)
    plain = PLAIN | {"vocab_size": write_tokenizer(model, kind) + PAD_ROWS} | (config or {})
    write_tower = write_siglip if tower == "siglip" else write_clip
    seeing = write_tower(folder / "vision", seed, hidden_size=12, intermediate_size=20)
    decoder = dense(kind, plain)
    projector = nn.Sequential(nn.Linear(12, plain["hidden_size"]), nn.GELU(), nn.Linear(*(plain["hidden_size"],) * 2))
    randomised(decoder, seed + 1)
    randomised(projector, seed + 2)
    if kind == "phi":
        nn.init.zeros_(decoder.lm_head.bias)
    root = "transformer" if kind == "qwen" else "model"
    prefix = f"{root}.mm_projector.image_spatial_proj"
    tensors = with_experts(published(kind, dict(decoder.state_dict())), plain, seed + 3, copies)
    tensors |= {f"{prefix}.{name}": tensor for name, tensor in projector.state_dict().items()}
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, model / "model.safetensors")
    (model / "config.json").write_text(json.dumps(_config(kind, plain, tower, capacity_factor)))
    return Theirs(seeing, projector, decoder)


def _config(kind: str, plain: dict[str, Any], tower: str, capacity_factor: float) -> dict[str, Any]:
    moe = {
        "moe_layers_idx": plain["moe_layers_idx"],
        "num_experts": plain["num_experts"],
        "top_k_experts": 2,
        "eval_capacity_factor": capacity_factor,
        "min_capacity": 0,
        "use_residual": plain.get("use_residual", False),
        "router_aux_loss_coef": 0.01,
    }
    own = {key: value for key, value in plain.items() if key not in moe}
    if kind == "qwen":
        own["intermediate_size"] = 2 * plain["intermediate_size"]
    return own | {
        "model_type": f"moe_llava_{kind}",
        "mm_image_tower": f"nobody/{tower}",
        "image_projector_type": "mlp2x_gelu",
        "image_aspect_ratio": "pad",
        "max_position_embeddings": own.get("max_position_embeddings", 512),
        "moe": moe,
    }
