"""Phi's decoder, as transformers' checkpoints name and describe it, and its byte-level tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flamingo_lab.config import Decoder
from flamingo_lab.layouts import activation, reading, refuse, rotary
from flamingo_lab.tokens import BytePairFiles
from flamingo_lab.weights import Rule, Split, first_rows, inside

if TYPE_CHECKING:
    from flamingo_lab.family import Folder

MLP: tuple[Rule, ...] = (("fc{1|2}.{weight|bias}", "{up|down}.{weight|bias}"),)

LAYER: tuple[Rule, ...] = (
    ("self_attn.{q_proj|k_proj|v_proj|dense}.{weight|bias}", "attention.{q|k|v|out}.{weight|bias}"),
    ("input_layernorm.{weight|bias}", "attention_norm.{weight|bias}"),
    *inside("mlp", "mlp", MLP),
)

NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
"""Keys of a tokenizer's settings that hold a token which stands for no text."""


def decoder(config: Mapping[str, Any], *, vocab: int | None = None) -> Decoder:
    """The decoder of a `config.json`; `vocab` where the authors' loader resizes the vocabulary."""
    with reading("config.json of a Phi decoder"):
        refuse(config, {"qk_layernorm": False}, "config.json of a Phi decoder")
        return Decoder(
            vocab=vocab or config["vocab_size"],
            width=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            kv_heads=config.get("num_key_value_heads"),
            mlp_width=config["intermediate_size"],
            positions=config.get("max_position_embeddings", 2048),
            norm="layer",
            norm_eps=config.get("layer_norm_eps", 1e-5),
            activation=activation(config.get("hidden_act", "gelu_new")),
            is_gated=False,
            is_parallel=True,
            has_two_norms=False,
            has_qkv_bias=True,
            has_out_bias=True,
            has_mlp_bias=True,
            place=rotary(
                config,
                config["hidden_size"] // config["num_attention_heads"],
                fraction=config.get("partial_rotary_factor", 0.5),
            ),
            ties_embeddings=config.get("tie_word_embeddings", False),
        )


def rules(*, vocab: int) -> tuple[Rule, ...]:
    """Rules of the whole decoder, the first `vocab` rows of the vocabulary kept. Its head has no bias here."""
    return (
        Split("model.embed_tokens.weight", ("decoder.embedding.weight",), first_rows(vocab)),
        Split("lm_head.weight", ("decoder.head.weight",), first_rows(vocab)),
        ("model.final_layernorm.{weight|bias}", "decoder.norm.{weight|bias}"),
        *inside("model.layers.{n}", "decoder.layers.{n}", LAYER),
    )


def tokenizer(folder: Folder) -> BytePairFiles:
    """`vocab.json`, `merges.txt` and what the folder's settings add to them (transformers' `CodeGenTokenizer`)."""
    settings = folder.json("tokenizer_config.json")
    held = [
        source[key] for source in (settings, folder.json("special_tokens_map.json")) for key in NAMED if key in source
    ]
    specials = {token["content"] if isinstance(token, Mapping) else token for token in held}
    vocab, added = folder.json("vocab.json"), folder.json("added_tokens.json")
    described = {token["content"]: int(number) for number, token in settings.get("added_tokens_decoder", {}).items()}
    own = {token: vocab[token] for token in specials if token in vocab}
    tidies = settings.get("clean_up_tokenization_spaces", True)
    return BytePairFiles(folder.path, own | added | described, specials, tidies=tidies)
