"""Qwen-VL and Qwen-VL-Chat (Alibaba, 2023): OpenCLIP's ViT-bigG/14, a query resampler, and Qwen-7B.

Layout, formulas and prompts follow the code in Qwen/Qwen-VL-Chat (its revision of September 2023) and the evaluation in
QwenLM/Qwen-VL, eval_mm. arXiv 2308.12966
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flamingo_lab.config import Architecture, Inline, QueryResampler, Tower
from flamingo_lab.errors import BadCheckpoint, BadConfig
from flamingo_lab.family import MAIN, Family, Folder, Size
from flamingo_lab.grounding import TAGS, TEMPLATE
from flamingo_lab.layouts import qwen, reading, refuse, repeated
from flamingo_lab.markup.paths import PAD, SPAN, START, Paths, PathTokens
from flamingo_lab.pixels import RGB, Normalise, OneView, Pipeline, Resize
from flamingo_lab.prompt import CAPTION, QUESTION_ANSWER
from flamingo_lab.weights import Rule, Rules, Split, inside, of_heads, thirds, transposed
from flamingo_lab.wording import Piecewise, Running

END_OF_TEXT = "<|endoftext|>"
GROUNDING = tuple(tag for kind in ("ref", "box", "quad") for tag in TAGS[kind])
TAGGED = (*GROUNDING, *TAGS["image"], PAD)
SPECIALS = (END_OF_TEXT, *TEMPLATE, *TAGGED)
"""In the order in which they follow the tokens of qwen.tiktoken."""

STORED_POSITIONS = 256
"""Of the tower: a grid of 16 x 16, interpolated to the picture's."""

RESAMPLER_HEAD = 128
"""Channels of one of the resampler's heads."""

VISION_EPS = 1e-6

STATED = ("kv_channels", "no_bias", "rotary_emb_base", "rotary_pct", "seq_length", "use_dynamic_ntk", "use_logn_attn")
"""What config.json has to say of the decoder: text models, with which it is read, assume other values."""

QKV = ("attention.q.{weight|bias}", "attention.k.{weight|bias}", "attention.v.{weight|bias}")

RESAMPLER: tuple[Rule, ...] = (
    ("{query|pos_embed}", "{latents|positions}"),
    ("kv_proj.weight", "project.weight"),
    ("ln_{q|kv}.{weight|bias}", "{latents|patches}_norm.{weight|bias}"),
    Split("attn.in_proj_{weight|bias}", QKV, thirds),
    ("attn.out_proj.{weight|bias}", "attention.out.{weight|bias}"),
)


def matches(folder: Folder) -> bool:
    """Text-only Qwen has the same `model_type`; it has no `visual` part."""
    vision = folder.config.get("visual")
    return isinstance(vision, Mapping) and "image_start_id" in vision


def tower_layer(heads: int) -> tuple[Rule, ...]:
    """Rules of a layer of the tower, whose queries, keys and values stand head by head."""
    return (
        ("ln_{1|2}.{weight|bias}", "{attention|mlp}_norm.{weight|bias}"),
        Split("attn.in_proj.{weight|bias}", QKV, of_heads(heads)),
        ("attn.out_proj.{weight|bias}", "attention.out.{weight|bias}"),
        ("mlp.{c_fc|c_proj}.{weight|bias}", "mlp.{up|down}.{weight|bias}"),
    )


def rules(folder: Folder, built: Architecture) -> Mapping[str, Rules]:
    """Names of the published tensors."""
    vision = "transformer.visual"
    own: tuple[Rule, ...] = (
        *qwen.rules(vocab=built.decoder.vocab),
        (f"{vision}.conv1.weight", "tower.patches.weight"),
        (f"{vision}.positional_embedding", "tower.positions"),
        (f"{vision}.ln_pre.{{weight|bias}}", "tower.pre_norm.{weight|bias}"),
        *inside(f"{vision}.transformer.resblocks.{{n}}", "tower.layers.{n}", tower_layer(built.tower.heads)),
        *inside(f"{vision}.attn_pool", "connector", RESAMPLER),
        (f"{vision}.ln_post.{{weight|bias}}", "connector.norm.{weight|bias}"),
        Split(f"{vision}.proj", ("connector.out.weight",), transposed),
    )
    return {MAIN: Rules(own, surplus=repeated(built.decoder, "lm_head.weight"))}


def architecture(folder: Folder) -> Architecture:
    """The model that config.json describes."""
    config = folder.config
    with reading("config.json of a Qwen-VL model"):
        decoder = qwen.decoder({key: config[key] for key in STATED} | dict(config))
        vision, width = config["visual"], decoder.width
        refuse(vision, {"n_queries": SPAN}, "config.json, visual")
        if vision["output_dim"] != width or width < RESAMPLER_HEAD:
            raise BadConfig(f"config.json: a picture's tokens are {vision['output_dim']} wide, the decoder {width}")
        tower = Tower(
            image_px=vision["image_size"],
            patch_px=vision["patch_size"],
            width=vision["width"],
            layers=vision["layers"],
            heads=vision["heads"],
            mlp_width=int(vision["width"] * vision["mlp_ratio"]),
            norm_eps=VISION_EPS,
            has_class_token=False,
            has_post_norm=False,
            stored_positions=STORED_POSITIONS,
        )
        resampler = QueryResampler(
            in_width=tower.width,
            width=vision["output_dim"],
            heads=vision["output_dim"] // RESAMPLER_HEAD,
            latents=SPAN,
            norm_eps=VISION_EPS,
        )
    return Architecture(tower, resampler, decoder, Inline())


def pipeline(folder: Folder, built: Architecture) -> Pipeline:
    """Straight to the tower's square."""
    return OneView((RGB(), Resize(built.tower.image_px, built.tower.image_px)), Normalise())


def tokenizer(folder: Folder) -> PathTokens:
    """The published qwen.tiktoken. Text-only Qwen's has the same name, and is not this model's where it is shorter."""
    file = folder.path / "qwen.tiktoken"
    read = PathTokens(file, qwen.PATTERN, SPECIALS, form="NFC")
    wanted = folder.json("config.json").get("visual", {}).get("image_start_id", read.id_of(START))
    if read.id_of(START) != wanted:
        raise BadCheckpoint(
            f"{file}: puts {START} at {read.id_of(START)}, config.json at {wanted}; download both again"
        )
    return read


def wording(folder: Folder) -> str:
    """What the folder's `chat_format` says; the base model's is raw."""
    return "chatml" if folder.json("generation_config.json").get("chat_format") == "chatml" else "raw"


CHATML = Piecewise(
    start="<|im_start|>",
    end="<|im_end|>",
    default_system="You are a helpful assistant.",
    picture=("Picture {n}: ", "\n"),
    stop_tokens=(END_OF_TEXT,),
    ends=("<|im_end|>", "<|im_start|>"),
    shown=SPECIALS,
    # QUIRK: `decode_tokens` drops the last token where it finds no end (golden qwen_vl, text_only_system).
    loses_last=True,
)
RAW = Running(
    separator="",
    says={QUESTION_ANSWER: "{text} Answer: {answer}", CAPTION: "Describe the image in English: {answer}"},
    stop_tokens=(END_OF_TEXT,),
    strips=True,
)

_PUBLISHED: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 4096,
    "intermediate_size": 22016,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "kv_channels": 128,
    "layer_norm_epsilon": 1e-6,
    "max_position_embeddings": 8192,
    "no_bias": True,
    "rotary_emb_base": 10000,
    "rotary_pct": 1.0,
    "seq_length": 2048,
    "use_dynamic_ntk": True,
    "use_logn_attn": True,
    "visual": {
        "heads": 16,
        "image_size": 448,
        "image_start_id": 151857,
        "layers": 48,
        "mlp_ratio": 4.9231,
        "output_dim": 4096,
        "patch_size": 14,
        "width": 1664,
    },
}
"""config.json of both models, as far as the layout depends on it."""


RECOMMENDED = {
    "captions": "--beams 1 --length-penalty 0 --min-new-tokens 8 --max-new-tokens 30",
    "question answering": "--beams 1 --min-new-tokens 1 --max-new-tokens 10",
    "documents and charts": "--beams 1 --min-new-tokens 1 --max-new-tokens 100",
    "boxes": "--beams 1 --min-new-tokens 10 --max-new-tokens 28",
}
"""As eval_mm decodes."""

CHAT = {what: f"--template raw {options}" for what, options in RECOMMENDED.items()} | {
    "MME": "--template chatml_unnumbered --temperature 1 --top-p 0.01 --max-new-tokens 512",
    "conversation": "--temperature 1 --top-p 0.3 --max-new-tokens 512",
}
"""eval_mm asks the chat model too in the base model's words; the last is of its generation_config.json."""


def _size(name: str, style: str, recommended: Mapping[str, str]) -> Size:
    licence = "Tongyi Qianwen LICENSE AGREEMENT"
    hub = f"Qwen/{name}"
    return Size(name.lower(), 9_656_935_168, _PUBLISHED, style, hub, licence=licence, recommended=recommended)


FAMILY = Family(
    name="qwen_vl",
    title="Qwen-VL",
    paper="arXiv 2308.12966",
    matches=matches,
    architecture=architecture,
    rules=rules,
    pipeline=pipeline,
    tokenizer=tokenizer,
    markup=lambda folder: Paths(known=TAGGED),
    boxes="qwen-vl",
    wordings={
        "chatml": CHATML,
        # MME was asked so (eval_mm/mme).
        "chatml_unnumbered": replace(CHATML, picture=("", "\n")),
        "raw": RAW,
        "grounding": replace(RAW, shown=GROUNDING),
    },
    wording=wording,
    sizes=(_size("Qwen-VL", "raw", RECOMMENDED), _size("Qwen-VL-Chat", "chatml", CHAT)),
)
