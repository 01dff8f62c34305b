"""The Persimmon decoder (Adept, 2023), as transformers' checkpoints name and describe it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flamingo_lab.config import Decoder
from flamingo_lab.layouts import activation, reading, rotary
from flamingo_lab.weights import Rule, Split, inside, of_heads

BUFFERS = ("*.rotary_emb.inv_freq",)
"""What files may also carry and nothing reads."""


def decoder(config: Mapping[str, Any]) -> Decoder:
    """The decoder of a configuration; sums and products follow transformers 4.35.0, models/persimmon."""
    with reading("config.json of a Persimmon decoder"):
        return Decoder(
            vocab=config["vocab_size"],
            width=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            mlp_width=config["intermediate_size"],
            positions=config["max_position_embeddings"],
            norm="layer",
            norm_eps=config["layer_norm_eps"],
            activation=activation(config["hidden_act"]),
            is_gated=False,
            has_qkv_bias=True,
            has_out_bias=True,
            has_mlp_bias=True,
            qk_norm="head" if config["qk_layernorm"] else None,
            place=rotary(
                config,
                config["hidden_size"] // config["num_attention_heads"],
                fraction=config["partial_rotary_factor"],
            ),
            ties_embeddings=config["tie_word_embeddings"],
        )


def rules(heads: int, model: str = "model", head: str = "lm_head") -> tuple[Rule, ...]:
    """Rules of the whole decoder; queries, keys and values are fused head by head."""
    fused = Split(
        "self_attn.query_key_value.{weight|bias}",
        ("attention.q.{weight|bias}", "attention.k.{weight|bias}", "attention.v.{weight|bias}"),
        of_heads(heads),
    )
    layer: tuple[Rule, ...] = (
        fused,
        ("self_attn.dense.{weight|bias}", "attention.out.{weight|bias}"),
        ("self_attn.{q|k}_layernorm.{weight|bias}", "attention.{query|key}_norm.{weight|bias}"),
        ("{input|post_attention}_layernorm.{weight|bias}", "{attention|mlp}_norm.{weight|bias}"),
        ("mlp.{dense_h_to_4h|dense_4h_to_h}.{weight|bias}", "mlp.{up|down}.{weight|bias}"),
    )
    return (
        (f"{model}.embed_tokens.weight", "decoder.embedding.weight"),
        (f"{head}.weight", "decoder.head.weight"),
        (f"{model}.final_layernorm.{{weight|bias}}", "decoder.norm.{weight|bias}"),
        *inside(f"{model}.layers.{{n}}", "decoder.layers.{n}", layer),
    )
