"""IDEFICS 9B and 80B (Hugging Face M4, 2023): an open reproduction of Flamingo on LLaMA and CLIP ViT-H/14.

Layout, formulas and prompts follow the authors' own port, transformers 4.37.2 `models/idefics`, and the model cards of
HuggingFaceM4/idefics-*. https://huggingface.co/blog/idefics
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from flamingo_lab.config import Architecture, Cross, Decoder, Resampler, Tower
from flamingo_lab.errors import BadConfig
from flamingo_lab.family import BUNDLED, MAIN, Family, Folder, Size
from flamingo_lab.layouts import clip, llama, reading, repeated
from flamingo_lab.markup.marks import Marks
from flamingo_lab.pixels import CLIP_MEAN, CLIP_STD, Normalise, OneView, Pipeline, Resize, RGBOnWhite, triple
from flamingo_lab.weights import Rule, Rules, inside
from flamingo_lab.wording import Chat, Running

UTTERANCE_END = "<end_of_utterance>"

NESTED = {
    "vision_config": {
        "vision_embed_dim": "embed_dim",
        "vision_image_size": "image_size",
        "vision_patch_size": "patch_size",
        "vision_intermediate_size": "intermediate_size",
        "vision_num_attention_heads": "num_attention_heads",
        "vision_num_hidden_layers": "num_hidden_layers",
    },
    "perceiver_config": {
        "qk_layer_norms_perceiver": "qk_layer_norms_perceiver",
        "resampler_depth": "resampler_depth",
        "resampler_head_dim": "resampler_head_dim",
        "resampler_n_heads": "resampler_n_heads",
        "resampler_n_latents": "resampler_n_latents",
    },
}
"""Where the first revisions, whose config.json was flat, kept what is now in two inner objects."""

DEFAULTS: dict[str, Any] = {
    "vocab_size": 32000,
    "additional_vocab_size": 0,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "alpha_type": "float",
    "cross_layer_interval": 1,
    "qk_layer_norms": False,
    "use_resampler": False,
}
VISION_DEFAULTS: dict[str, Any] = {
    "embed_dim": 768,
    "image_size": 224,
    "patch_size": 14,
    "intermediate_size": 5120,
    "num_attention_heads": 16,
    "num_hidden_layers": 32,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
}
PERCEIVER_DEFAULTS: dict[str, Any] = {
    "qk_layer_norms_perceiver": False,
    "resampler_depth": 6,
    "resampler_head_dim": 96,
    "resampler_n_heads": 16,
    "resampler_n_latents": 64,
}
"""What the authors' configuration classes assume where config.json is silent."""

GATES: dict[str, Literal["scalar", "vector"]] = {"float": "scalar", "vector": "vector"}

GATED: tuple[Rule, ...] = (
    ("alpha_{cross_attn|dense}", "{attention|mlp}_gate"),
    ("cross_attn.{q|k|v|o}_proj.weight", "attention.{q|k|v|out}.weight"),
    ("cross_attn.{q|k}_layer_norm.weight", "attention.{query|key}_norm.weight"),
    ("mlp.{gate|up|down}_proj.weight", "mlp.{gate|up|down}.weight"),
    ("{input|post_attention}_layernorm.weight", "{attention|mlp}_norm.weight"),
)
RESAMPLER_LAYER: tuple[Rule, ...] = (
    ("0.{context|latents}_layer_norm.{weight|bias}", "{patches|latents}_norm.{weight|bias}"),
    ("0.{q|k}_layer_norm.{weight|bias}", "attention.{query|key}_norm.{weight|bias}"),
    ("0.{q_proj|k_proj|v_proj|output_proj}.weight", "attention.{q|k|v|out}.weight"),
    ("1.ln.{weight|bias}", "mlp_norm.{weight|bias}"),
    ("1.{fc|c_proj}.weight", "mlp.{up|down}.weight"),
)

RULES: tuple[Rule, ...] = (
    *llama.rules(),
    ("model.embed_tokens.additional_embedding.weight", "decoder.embedding.extra"),
    ("lm_head.additional_fc.weight", "decoder.head.extra"),
    *inside("model.gated_cross_attn_layers.{n}", "join.{n}", GATED),
    *clip.rules("model.vision_model"),
    ("model.perceiver_resampler.latents", "connector.latents"),
    ("model.perceiver_resampler.layer_norm.{weight|bias}", "connector.norm.{weight|bias}"),
    *inside("model.perceiver_resampler.blocks.{n}", "connector.layers.{n}", RESAMPLER_LAYER),
)

MARKS = Marks(
    mark="<image>",
    start="<s>",
    end="</s>",
    around="<fake_token_around_image>",
    utterance_end=UTTERANCE_END,
    strips=True,
)

BUFFERS = (*llama.BUFFERS, *clip.BUFFERS)
"""What 2023 files also carry and nothing reads."""


def architecture(folder: Folder) -> Architecture:
    """The model that config.json describes, nested or flat."""
    config = DEFAULTS | dict(folder.config)
    seen = tower(folder)
    connector = resampler(folder, seen) if config["use_resampler"] else None
    text = decoder(folder, config)
    return Architecture(seen, connector, text, gated(config, text, seen))


def decoder(folder: Folder, config: Mapping[str, Any]) -> Decoder:
    """LLaMA's, with tokens of its own.

    How many these are is taken from their embedding where the shapes are known: first revisions of the instruct models
    state one too few.
    """
    extra = folder.shape("model.embed_tokens.additional_embedding.weight")
    return replace(llama.decoder(config), extra_vocab=extra[0] if extra else config["additional_vocab_size"])


def tower(folder: Folder) -> Tower:
    """CLIP's, every token of its last layer."""
    vision = VISION_DEFAULTS | _inner(folder.config, "vision_config")
    return clip.tower(vision | {"hidden_size": vision["embed_dim"]}, reads_layer=-1, drops_first=False)


def resampler(folder: Folder, seen: Tower) -> Resampler:
    """The perceiver."""
    perceiver = PERCEIVER_DEFAULTS | _inner(folder.config, "perceiver_config")
    return Resampler(
        width=seen.width,
        depth=perceiver["resampler_depth"],
        heads=perceiver["resampler_n_heads"],
        head_width=perceiver["resampler_head_dim"],
        latents=perceiver["resampler_n_latents"],
        mlp_width=4 * seen.width,
        has_qk_norms=perceiver["qk_layer_norms_perceiver"],
    )


def gated(config: Mapping[str, Any], text: Decoder, seen: Tower) -> Cross:
    """A gated block before every so many layers, of the decoder's own shape."""
    interval = config["cross_layer_interval"]
    if text.layers % interval:
        raise BadConfig(f"config.json: {text.layers} layers cannot hold a gated block every {interval} layers")
    with reading("config.json: alpha_type"):
        gate = GATES[config["alpha_type"]]
    return Cross(
        layers=tuple(range(0, text.layers, interval)),
        kv_width=seen.width,
        heads=text.heads,
        head_width=text.head_width,
        mlp_width=text.mlp_width,
        norm=text.norm,
        norm_eps=text.norm_eps,
        activation=text.activation,
        is_gated=text.is_gated,
        has_qk_norms=config["qk_layer_norms"],
        gate=gate,
    )


def _inner(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    """An inner object of config.json, from the flat keys of first revisions where there is none."""
    return {new: config[old] for old, new in NESTED[key].items() if old in config} | config.get(key, {})


def rules(folder: Folder, built: Architecture) -> Mapping[str, Rules]:
    """Names of the published tensors; the heads of a tied model, where a file repeats them, are surplus."""
    heads = repeated(built.decoder, "lm_head.weight", "lm_head.additional_fc.weight")
    return {MAIN: Rules(RULES, surplus=(*BUFFERS, *heads))}


def pipeline(folder: Folder, built: Architecture) -> Pipeline:
    """Straight to the tower's square, as `IdeficsImageProcessor` does."""
    settings = folder.json("preprocessor_config.json")
    size = settings.get("image_size", built.tower.image_px)
    if size != built.tower.image_px:
        raise BadConfig(f"preprocessor_config.json: image_size {size}, but the tower takes {built.tower.image_px}")
    normalise = Normalise(triple(settings, "image_mean", CLIP_MEAN), triple(settings, "image_std", CLIP_STD))
    return OneView((RGBOnWhite(), Resize(size, size)), normalise)


def wording(folder: Folder) -> str:
    """Instruct models are those whose tokenizer knows the end of an utterance."""
    return "base" if llama.tokenizer_file(folder).id_of(UTTERANCE_END) is None else "instruct"


def _published(width: int, layers: int, heads: int, inner: int, eps: float, extra: int) -> dict[str, Any]:
    """config.json of a published size, as far as the layout depends on it; `extra` as its embedding really has them."""
    return {
        "model_type": "idefics",
        "vocab_size": 32000,
        "additional_vocab_size": extra,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "rms_norm_eps": eps,
        "cross_layer_interval": 4,
        "qk_layer_norms": True,
        "use_resampler": True,
        "vision_config": {"embed_dim": 1280},
        "perceiver_config": {"qk_layer_norms_perceiver": True},
    }


_9B = partial(_published, 4096, 32, 32, 11008, 1e-6)
_80B = partial(_published, 8192, 80, 64, 22016, 1e-5)
_BASE, _INSTRUCT = 2, 3
RECOMMENDED = {"the card's examples": "--beams 1 --dtype bfloat16"}
"""Their limit of 100 tokens counts the prompt, which no option does."""

_LICENCE = "LLaMA's terms on the language model, MIT on the rest"


def _size(name: str, parameters: int, config: dict[str, Any], style: str) -> Size:
    hub = f"HuggingFaceM4/{name}"
    return Size(name, parameters, config, style, hub=hub, licence=_LICENCE, recommended=RECOMMENDED)


def _bundled(name: str, parameters: int, style: str) -> Size:
    config = json.loads((BUNDLED / name / "config.json").read_text(encoding="utf-8"))
    return Size(name, parameters, config, style, bundled=name, licence="Apache-2.0")


BASE = Running(stop=("\n",), stop_tokens=("</s>",))

FAMILY = Family(
    name="idefics",
    title="Flamingo / IDEFICS",
    paper="arXiv 2204.14198 and https://huggingface.co/blog/idefics",
    matches=lambda folder: folder.config.get("model_type") == "idefics",
    architecture=architecture,
    rules=rules,
    pipeline=pipeline,
    tokenizer=llama.tokenizer_file,
    markup=lambda folder: MARKS,
    poor_in={"float16": "the 80B is known to answer nothing; the authors use bfloat16"},
    wordings={
        "base": BASE,
        "instruct": Chat(
            system=f"{{text}}{UTTERANCE_END}\n",
            user=f"User: {{text}}{UTTERANCE_END}\n",
            assistant=f"Assistant: {{text}}{UTTERANCE_END}\n",
            opening="Assistant:",
            stop=("\nUser:",),
            stop_tokens=(UTTERANCE_END, "</s>"),
            strips=False,
        ),
    },
    wording=wording,
    forbidden=("<image>", "<fake_token_around_image>"),
    sizes=(
        _size("idefics-9b", 8_929_679_632, _9B(_BASE), "base"),
        _size("idefics-9b-instruct", 8_929_687_824, _9B(_INSTRUCT), "instruct"),
        _size("idefics-80b", 79_967_843_624, _80B(_BASE), "base"),
        _size("idefics-80b-instruct", 79_967_860_008, _80B(_INSTRUCT), "instruct"),
        _bundled("flamingo-tiny", 2_325_320, "base"),
    ),
)
