"""StableLM-2's decoder, as its authors' code (`stablelm_epoch`) names and describes it, and its tiktoken tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flamingo_lab.config import Decoder
from flamingo_lab.layouts import activation, reading, refuse, rotary
from flamingo_lab.layouts.qwen import PATTERN
from flamingo_lab.tokens import TiktokenFile
from flamingo_lab.weights import Rule, Split, first_rows, inside

if TYPE_CHECKING:
    from flamingo_lab.family import Folder

STARCODER = (
    *("<gh_stars>", "<filename>", "<issue_start>", "<issue_comment>", "<issue_closed>"),
    *("<jupyter_start>", "<jupyter_text>", "<jupyter_code>", "<jupyter_output>", "<empty_output>"),
    *("<commit_before>", "<commit_msg>", "<commit_after>", "<reponame>"),
)
SPECIALS = (
    "<|endoftext|>",
    *("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *STARCODER,
    *("<|endofprompt|>", "<|im_start|>", "<|im_end|>", "<|pause|>"),
    *(f"<|reg{number}|>" for number in range(8)),
    "<|extra0|>",
)

MLP: tuple[Rule, ...] = (("{gate|up|down}_proj.weight", "{gate|up|down}.weight"),)

LAYER: tuple[Rule, ...] = (
    ("self_attn.{q|k|v}_proj.{weight|bias}", "attention.{q|k|v}.{weight|bias}"),
    ("self_attn.o_proj.weight", "attention.out.weight"),
    ("{input|post_attention}_layernorm.{weight|bias}", "{attention|mlp}_norm.{weight|bias}"),
    *inside("mlp", "mlp", MLP),
)


def decoder(config: Mapping[str, Any], *, vocab: int | None = None) -> Decoder:
    """The decoder of a `config.json`; `vocab` where the authors' loader resizes the vocabulary."""
    what = "config.json of a StableLM decoder"
    with reading(what):
        refuse(config, {"rotary_scaling_factor": 1.0, "use_parallel_residual": False, "qk_layernorm": False}, what)
        return Decoder(
            vocab=vocab or config["vocab_size"],
            width=config["hidden_size"],
            layers=config["num_hidden_layers"],
            heads=config["num_attention_heads"],
            kv_heads=config.get("num_key_value_heads"),
            mlp_width=config["intermediate_size"],
            positions=config.get("max_position_embeddings", 4096),
            norm="layer",
            norm_eps=config.get("norm_eps", 1e-5),
            activation=activation(config.get("hidden_act", "silu")),
            has_qkv_bias=config.get("use_qkv_bias", True),
            place=rotary(
                config,
                config["hidden_size"] // config["num_attention_heads"],
                fraction=config.get("rope_pct", 0.25),
            ),
            ties_embeddings=config.get("tie_word_embeddings", False),
        )


def rules(*, vocab: int) -> tuple[Rule, ...]:
    """Rules of the whole decoder, the first `vocab` rows of the vocabulary kept."""
    return (
        Split("model.embed_tokens.weight", ("decoder.embedding.weight",), first_rows(vocab)),
        Split("lm_head.weight", ("decoder.head.weight",), first_rows(vocab)),
        ("model.norm.{weight|bias}", "decoder.norm.{weight|bias}"),
        *inside("model.layers.{n}", "decoder.layers.{n}", LAYER),
    )


def tokenizer(folder: Folder) -> TiktokenFile:
    """`arcade100k.tiktoken`; one id between its ranks and the special tokens stands for nothing."""
    return TiktokenFile(folder.path / "arcade100k.tiktoken", PATTERN, SPECIALS, form="NFC", unused=1)
