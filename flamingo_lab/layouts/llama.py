"""LLaMA's decoder and its kin (Vicuna, Mistral, Yi), as transformers' checkpoints name and describe it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flamingo_lab.config import Decoder
from flamingo_lab.layouts import activation, reading, refuse, repeated, rotary
from flamingo_lab.tokens import TokenizerFile
from flamingo_lab.weights import Rule, Split, first_rows, inside

if TYPE_CHECKING:
    from flamingo_lab.family import Folder

LAYER: tuple[Rule, ...] = (
    ("self_attn.{q|k|v|o}_proj.{weight|bias}", "attention.{q|k|v|out}.{weight|bias}"),
    ("mlp.{gate|up|down}_proj.{weight|bias}", "mlp.{gate|up|down}.{weight|bias}"),
    ("{input|post_attention}_layernorm.weight", "{attention|mlp}_norm.weight"),
)

BUFFERS = ("*.rotary_emb.inv_freq",)
"""What 2023 files also carry and nothing reads."""


def decoder(config: Mapping[str, Any], *, vocab: int | None = None) -> Decoder:
    """The decoder of a `config.json`; `vocab` where the authors' loader resizes the vocabulary."""
    with reading("config.json of a LLaMA decoder"):
        head_width = config["hidden_size"] // config["num_attention_heads"]
        if config.get("head_dim"):
            refuse(config, {"head_dim": head_width}, "config.json")
        has_bias = config.get("attention_bias", False)
        return Decoder(
            vocab=vocab or config["vocab_size"],
            width=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            kv_heads=config.get("num_key_value_heads"),
            mlp_width=config["intermediate_size"],
            positions=config.get("max_position_embeddings", 2048),
            activation=activation(config.get("hidden_act", "silu")),
            norm_eps=config.get("rms_norm_eps", 1e-6),
            has_qkv_bias=has_bias,
            has_out_bias=has_bias,
            has_mlp_bias=config.get("mlp_bias", False),
            place=rotary(config, head_width),
            window=config.get("sliding_window"),
            ties_embeddings=config.get("tie_word_embeddings", False),
        )


def tokenizer_file(folder: Folder) -> TokenizerFile:
    """The published `tokenizer.json`; decoded text loses blanks before punctuation only where the settings ask for it."""
    tidies = folder.json("tokenizer_config.json").get("clean_up_tokenization_spaces", False)
    return TokenizerFile(folder.path / "tokenizer.json", tidies=bool(tidies))


def surplus(built: Decoder, head: str = "lm_head") -> tuple[str, ...]:
    """What files carry beside the decoder's own weights."""
    return (*BUFFERS, *repeated(built, f"{head}.weight"))


def rules(model: str = "model", head: str = "lm_head", *, vocab: int | None = None) -> tuple[Rule, ...]:
    """Rules of the whole decoder; `vocab`: rows of the vocabulary that are kept, None for all."""
    ends = ((f"{model}.embed_tokens.weight", "decoder.embedding.weight"), (f"{head}.weight", "decoder.head.weight"))
    return (
        *(ends if vocab is None else (Split(theirs, (ours,), first_rows(vocab)) for theirs, ours in ends)),
        (f"{model}.norm.weight", "decoder.norm.weight"),
        *inside(f"{model}.layers.{{n}}", "decoder.layers.{n}", LAYER),
    )
