"""MosaicML's MPT decoders, as their authors' code on the hub names and describes them: MPT-1b and MPT-7b.

Linear biases instead of positions, one projection for queries, keys and values, no bias anywhere, tied embeddings.
https://huggingface.co/mosaicml/mpt-1b-redpajama-200b, https://huggingface.co/mosaicml/mpt-7b
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flamingo_lab.config import Alibi, Decoder
from flamingo_lab.layouts import reading, refuse
from flamingo_lab.weights import Rule, Split, first_rows, inside, thirds

LAYERS = "transformer.blocks"

MPT_1B: dict[str, Any] = {
    "model_type": "mosaic_gpt",
    "vocab_size": 50432,
    "d_model": 2048,
    "n_heads": 16,
    "n_layers": 24,
    "mlp_ratio": 4,
    "max_seq_len": 2048,
    "alibi": True,
    "alibi_bias_max": 8,
    "attn_qk_ln": True,
}
"""anas-awadalla/mpt-1b-redpajama-200b."""

MPT_7B: dict[str, Any] = {
    "model_type": "mpt",
    "vocab_size": 50432,
    "d_model": 4096,
    "n_heads": 32,
    "n_layers": 32,
    "expansion_ratio": 4,
    "max_seq_len": 2048,
    "attn_config": {"alibi": True, "alibi_bias_max": 8, "qk_ln": False},
}
"""anas-awadalla/mpt-7b."""

ATTENTION: tuple[Rule, ...] = (
    Split("attn.Wqkv.weight", ("attention.q.weight", "attention.k.weight", "attention.v.weight"), thirds),
    ("attn.{q|k}_ln.weight", "attention.{query|key}_norm.weight"),
    ("attn.out_proj.weight", "attention.out.weight"),
)
MPT_1B_LAYER: tuple[Rule, ...] = (
    *ATTENTION,
    ("ln_{1|2}.weight", "{attention|mlp}_norm.weight"),
    ("mlp.mlp_{up|down}.weight", "mlp.{up|down}.weight"),
)
MPT_7B_LAYER: tuple[Rule, ...] = (
    *ATTENTION,
    ("norm_{1|2}.weight", "{attention|mlp}_norm.weight"),
    ("ffn.{up|down}_proj.weight", "mlp.{up|down}.weight"),
)

KNOWN: dict[str, Any] = {"no_bias": True, "logit_scale": None}
KNOWN_ATTENTION: dict[str, Any] = {"softmax_scale": None, "prefix_lm": False}
WITH_ALIBI: dict[str, Any] = {"alibi": True}
"""What the published models set among what the authors' code can do, and the core does."""

NORMS = ("low_precision_layernorm", "layernorm")
"""Equal but under autocast."""


def mpt_1b(config: Mapping[str, Any], *, vocab: int | None = None) -> Decoder:
    """The decoder of a `config.json` of type mosaic_gpt; `vocab` where the authors' loader resizes the vocabulary."""
    what = "config.json of an MPT-1b decoder"
    with reading(what):
        refuse(config, KNOWN | KNOWN_ATTENTION, what)
        refuse({"alibi": config["alibi"]}, WITH_ALIBI, what)
        return _decoder(
            config,
            vocab,
            ratio=config["mlp_ratio"],
            alibi=Alibi(float(config.get("alibi_bias_max", 8)), slopes="plain"),
            has_norms=config.get("attn_qk_ln", False),
            limit=config.get("attn_clip_qkv"),
        )


def mpt_7b(config: Mapping[str, Any], *, vocab: int | None = None) -> Decoder:
    """The decoder of a `config.json` of type mpt; `vocab` where the authors' loader resizes the vocabulary."""
    what = "config.json of an MPT decoder"
    with reading(what):
        attention = config["attn_config"]
        refuse(config, KNOWN, what)
        refuse(attention, KNOWN_ATTENTION | {"attn_type": "multihead_attention"}, what)
        refuse({"alibi": attention["alibi"]}, WITH_ALIBI, what)
        if config.get("norm_type") not in (None, *NORMS):
            refuse(config, {"norm_type": NORMS[0]}, what)
        return _decoder(
            config,
            vocab,
            ratio=config["expansion_ratio"],
            alibi=Alibi(float(attention.get("alibi_bias_max", 8)), slopes="interleaved"),
            has_norms=attention.get("qk_ln", False),
            limit=attention.get("clip_qkv"),
        )


def _decoder(
    config: Mapping[str, Any], vocab: int | None, *, ratio: int, alibi: Alibi, has_norms: bool, limit: float | None
) -> Decoder:
    return Decoder(
        vocab=vocab or config["vocab_size"],
        width=config["d_model"],
        layers=config["n_layers"],
        heads=config["n_heads"],
        mlp_width=ratio * config["d_model"],
        positions=config["max_seq_len"],
        norm="layer_without_bias",
        norm_eps=1e-5,
        activation="gelu",
        is_gated=False,
        qk_norm="width" if has_norms else None,
        qkv_limit=limit or None,
        place=alibi,
        ties_embeddings=True,
    )


def mpt_1b_rules(built: Decoder, *, cuts: bool = False) -> tuple[Rule, ...]:
    """Rules of MPT-1b; `cuts`: the vocabulary's rows beyond the decoder's are left out."""
    return _rules(MPT_1B_LAYER, "ln_f", built, cuts)


def mpt_7b_rules(built: Decoder, *, cuts: bool = False) -> tuple[Rule, ...]:
    """Rules of MPT-7b; `cuts`: the vocabulary's rows beyond the decoder's are left out."""
    return _rules(MPT_7B_LAYER, "norm_f", built, cuts)


def _rules(layer: tuple[Rule, ...], norm: str, built: Decoder, cuts: bool) -> tuple[Rule, ...]:
    theirs, ours = "transformer.wte.weight", "decoder.embedding.weight"
    return (
        Split(theirs, (ours,), first_rows(built.vocab)) if cuts else (theirs, ours),
        *inside(f"{LAYERS}.{{n}}", "decoder.layers.{n}", layer),
        (f"transformer.{norm}.weight", "decoder.norm.weight"),
    )
