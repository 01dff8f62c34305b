"""Qwen's decoder (the first generation), as its authors' code names and describes it, and its tiktoken tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flamingo_lab.config import Decoder, Rotary
from flamingo_lab.layouts import reading, refuse
from flamingo_lab.tokens import TiktokenFile
from flamingo_lab.weights import Rule, Split, first_rows, inside, thirds

if TYPE_CHECKING:
    from flamingo_lab.family import Folder

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""What a text is cut into before it is merged: single digits, unlike most others."""

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{number}|>" for number in range(205)))

MLP: tuple[Rule, ...] = (("{w1|w2|c_proj}.{weight|bias}", "{up|gate|down}.{weight|bias}"),)
"""The activation is on `w2`."""

LAYER: tuple[Rule, ...] = (
    Split("attn.c_attn.{weight|bias}", tuple(f"attention.{part}.{{weight|bias}}" for part in "qkv"), thirds),
    ("attn.c_proj.{weight|bias}", "attention.out.{weight|bias}"),
    ("ln_{1|2}.weight", "{attention|mlp}_norm.weight"),
    *inside("mlp", "mlp", MLP),
)


def decoder(config: Mapping[str, Any], *, vocab: int | None = None) -> Decoder:
    """The decoder of a `config.json`; `vocab` where the authors' loader resizes the vocabulary.

    `intermediate_size` counts both halves of the gated branch.
    """
    what = "config.json of a Qwen decoder"
    with reading(what):
        refuse(config, {"scale_attn_weights": True}, what)
        if "kv_channels" in config:
            refuse(config, {"kv_channels": config["hidden_size"] // config["num_attention_heads"]}, what)
        length = config.get("seq_length", 8192)
        has_bias = not config.get("no_bias", True)
        return Decoder(
            vocab=vocab or config["vocab_size"],
            width=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            mlp_width=config["intermediate_size"] // 2,
            positions=config.get("max_position_embeddings", 8192),
            norm_eps=config.get("layer_norm_epsilon", 1e-6),
            has_qkv_bias=True,
            has_out_bias=has_bias,
            has_mlp_bias=has_bias,
            place=Rotary(
                config.get("rotary_emb_base", 10_000.0),
                config.get("rotary_pct", 1.0),
                length if config.get("use_dynamic_ntk", True) else None,
            ),
            log_n_length=length if config.get("use_logn_attn", True) else None,
            ties_embeddings=config.get("tie_word_embeddings", False),
        )


def rules(*, vocab: int) -> tuple[Rule, ...]:
    """Rules of the whole decoder, the first `vocab` rows of the vocabulary kept."""
    return (
        Split("transformer.wte.weight", ("decoder.embedding.weight",), first_rows(vocab)),
        Split("lm_head.weight", ("decoder.head.weight",), first_rows(vocab)),
        ("transformer.ln_f.weight", "decoder.norm.weight"),
        *inside("transformer.h.{n}", "decoder.layers.{n}", LAYER),
    )


def tokenizer(folder: Folder) -> TiktokenFile:
    """`qwen.tiktoken` with the special tokens of text models."""
    return TiktokenFile(folder.path / "qwen.tiktoken", PATTERN, SPECIALS, form="NFC")
