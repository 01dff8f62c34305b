"""GPT-NeoX's decoder with its branches one after the other (RedPajama-INCITE), as transformers' checkpoints name it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flamingo_lab.config import Activation, Decoder, Rotary
from flamingo_lab.errors import BadConfig
from flamingo_lab.layouts import reading
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

ACTIVATIONS: dict[str, Activation] = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_fast": "gelu_tanh", "relu": "relu"}

BUFFERS = ("*.attention.bias", "*.attention.masked_bias", "*.attention.rotary_emb.inv_freq")
"""Masks and angles that 2023 files also carry and nothing reads."""


def decoder(config: Mapping[str, Any], *, vocab: int | None = None) -> Decoder:
    """The decoder of a `config.json`; `vocab` where the authors' loader resizes the vocabulary."""
    with reading("config.json of a GPT-NeoX decoder"):
        if config.get("use_parallel_residual", True):
            raise BadConfig("config.json: a GPT-NeoX decoder with use_parallel_residual true is not known")
        if config.get("rope_scaling"):
            raise BadConfig(f"config.json: rope_scaling {config['rope_scaling']!r} is not known")
        return Decoder(
            vocab=vocab or config["vocab_size"],
            width=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            mlp_width=config["intermediate_size"],
            positions=config["max_position_embeddings"],
            norm="layer",
            norm_eps=config["layer_norm_eps"],
            activation=ACTIVATIONS[config["hidden_act"]],
            is_gated=False,
            has_qkv_bias=True,
            has_out_bias=True,
            has_mlp_bias=True,
            place=Rotary(config["rotary_emb_base"], config["rotary_pct"]),
            ties_embeddings=config.get("tie_word_embeddings", False),
        )


def rules(built: Decoder, *, cuts: bool = False) -> tuple[Rule, ...]:
    """Rules of the whole decoder; `cuts`: the vocabulary's rows beyond the decoder's are left out."""
    ends = [("gpt_neox.embed_in.weight", "decoder.embedding.weight")]
    if not built.ties_embeddings:
        ends.append(("embed_out.weight", "decoder.head.weight"))
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
