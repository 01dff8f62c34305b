"""GPT-NeoX's decoder, its branches side by side or one after the other (RedPajama-INCITE), in transformers' layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flamingo_lab.config import Decoder
from flamingo_lab.layouts import activation, reading, refuse, repeated, rotary
from flamingo_lab.weights import Rule, Split, first_rows, inside, of_heads

LAYERS = "gpt_neox.layers"

REDPAJAMA_3B: dict[str, Any] = {
    "model_type": "gpt_neox",
    "vocab_size": 50432,
    "hidden_size": 2560,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "intermediate_size": 10240,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "max_position_embeddings": 2048,
    "rotary_emb_base": 10000,
    "rotary_pct": 1.0,
    "use_parallel_residual": False,
}
"""togethercomputer/RedPajama-INCITE-*-3B-v1."""

BUFFERS = ("*.attention.bias", "*.attention.masked_bias", "*.attention.rotary_emb.inv_freq")
"""Masks and angles that 2023 files also carry and nothing reads."""


def decoder(config: Mapping[str, Any], *, vocab: int | None = None) -> Decoder:
    """The decoder of a `config.json`; `vocab` where the authors' loader resizes the vocabulary."""
    with reading("config.json of a GPT-NeoX decoder"):
        refuse(config, {"attention_bias": True}, "config.json of a GPT-NeoX decoder")
        return Decoder(
            vocab=vocab or config["vocab_size"],
            width=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            mlp_width=config["intermediate_size"],
            positions=config.get("max_position_embeddings", 2048),
            norm="layer",
            norm_eps=config.get("layer_norm_eps", 1e-5),
            activation=activation(config.get("hidden_act", "gelu")),
            is_gated=False,
            is_parallel=config.get("use_parallel_residual", True),
            has_qkv_bias=True,
            has_out_bias=True,
            has_mlp_bias=True,
            place=rotary(
                config,
                config["hidden_size"] // config["num_attention_heads"],
                base=config.get("rotary_emb_base", 10_000.0),
                fraction=config.get("rotary_pct", 0.25),
            ),
            ties_embeddings=config.get("tie_word_embeddings", False),
        )


def surplus(built: Decoder) -> tuple[str, ...]:
    """What files carry beside the decoder's own weights."""
    return (*BUFFERS, *repeated(built, "*embed_out.weight"))


def rules(built: Decoder, *, cuts: bool = False) -> tuple[Rule, ...]:
    """Rules of the whole decoder; `cuts`: the vocabulary's rows beyond the decoder's are left out."""
    ends = (("gpt_neox.embed_in.weight", "decoder.embedding.weight"), ("embed_out.weight", "decoder.head.weight"))
    fused = tuple(f"attention.{part}.{{weight|bias}}" for part in "qkv")
    layer: tuple[Rule, ...] = (
        Split("attention.query_key_value.{weight|bias}", fused, of_heads(built.heads)),
        ("attention.dense.{weight|bias}", "attention.out.{weight|bias}"),
        ("mlp.dense_{h_to_4h|4h_to_h}.{weight|bias}", "mlp.{up|down}.{weight|bias}"),
        ("{input|post_attention}_layernorm.{weight|bias}", "{attention|mlp}_norm.{weight|bias}"),
    )
    return (
        *((Split(theirs, (ours,), first_rows(built.vocab)) for theirs, ours in ends) if cuts else ends),
        *inside(f"{LAYERS}.{{n}}", "decoder.layers.{n}", layer),
        ("gpt_neox.final_layer_norm.{weight|bias}", "decoder.norm.{weight|bias}"),
    )
