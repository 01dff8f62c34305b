"""LLaVA-1.5 as converted for transformers (llava-hf/llava-1.5-*-hf): the same weights under other names, in one folder.

QUIRK: the conversion's own processor crops the middle of a picture where the authors pad it to a square, and its tokenizer
marks a word's start behind `</s>`; both are followed here (golden llava_hf). Load the authors' files for the authors' answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flamingo_lab.config import Architecture, Inline, Projector
from flamingo_lab.errors import BadConfig
from flamingo_lab.family import MAIN, Family, Folder, Size, stated_eos
from flamingo_lab.layouts import activation, clip, llama, reading, refuse
from flamingo_lab.layouts.llava import RECOMMENDED, padded
from flamingo_lab.markup.runs import Runs
from flamingo_lab.pixels import Pipeline
from flamingo_lab.templates import LLAVA
from flamingo_lab.weights import Rules

TEXT: dict[str, dict[str, Any]] = {
    "llama": {"intermediate_size": 11008, "max_position_embeddings": 2048},
    "mistral": {
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
    },
}
"""What transformers' classes assume of each decoder where `text_config` is silent."""

TEXT_7B = {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32}

CLIP = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "image_size": 336, "patch_size": 14}

STRATEGIES = {"default": True, "full": False}
"""Whether the class token is left out."""


def architecture(folder: Folder) -> Architecture:
    """The model that config.json describes."""
    config = folder.config
    text = config["text_config"]
    kind = text.get("model_type", "llama")
    if kind not in TEXT:
        raise BadConfig(f"config.json: the text_config's model_type {kind!r} is none of {', '.join(TEXT)}")
    decoder = llama.decoder(TEXT_7B | TEXT[kind] | text)
    strategy = config.get("vision_feature_select_strategy", "default")
    if strategy not in STRATEGIES:
        raise BadConfig(f"config.json: vision_feature_select_strategy {strategy!r} is none of {', '.join(STRATEGIES)}")
    with reading("config.json"):
        tower = clip.tower(
            config["vision_config"],
            reads_layer=config.get("vision_feature_layer", -2),
            drops_first=STRATEGIES[strategy],
        )
    refuse(config, {"multimodal_projector_bias": True}, "config.json")
    act = activation(config.get("projector_hidden_act", "gelu"))
    connector = Projector((tower.width, decoder.width, decoder.width), act)
    return Architecture(tower, connector, decoder, Inline())


def rules(folder: Folder, built: Architecture) -> Mapping[str, Rules]:
    """Names of the conversion of 2023."""
    own = (
        *llama.rules("language_model.model", "language_model.lm_head"),
        ("multi_modal_projector.linear_{1|2}.{weight|bias}", "connector.layers.{0|1}.{weight|bias}"),
        *clip.rules("vision_tower.vision_model"),
    )
    return {MAIN: Rules(own, surplus=(*llama.surplus(built.decoder, "language_model.lm_head"), *clip.BUFFERS))}


def pipeline(folder: Folder, built: Architecture) -> Pipeline:
    """The folder's own processor: the middle of the picture, unless it is told to pad as the authors do."""
    settings = folder.json("preprocessor_config.json")
    plain = clip.pipeline(settings, built.tower)
    return padded(plain) if settings.get("do_pad") else plain


def _size(name: str, parameters: int, width: int, inner: int, layers: int, heads: int) -> Size:
    text = {"hidden_size": width, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads}
    text |= {"vocab_size": 32064, "rms_norm_eps": 1e-5, "max_position_embeddings": 4096}
    config = {"text_config": text, "vision_config": CLIP | {"intermediate_size": 4096}}
    return Size(
        name,
        parameters,
        config,
        "vicuna_v1",
        f"llava-hf/{name}",
        licence="Llama 2 Community License",
        recommended=RECOMMENDED,
    )


FAMILY = Family(
    name="llava_hf",
    title="LLaVA 1.5, converted for transformers",
    paper="arXiv 2310.03744",
    matches=lambda folder: folder.config.get("model_type") == "llava" and "text_config" in folder.config,
    architecture=architecture,
    rules=rules,
    pipeline=pipeline,
    tokenizer=llama.tokenizer_file,
    markup=lambda folder: Runs(start="<s>"),
    wordings=LLAVA,
    wording=lambda folder: "vicuna_v1",
    eos=stated_eos,
    sizes=(
        _size("llava-1.5-7b-hf", 7_063_427_072, 4096, 11008, 32, 32),
        _size("llava-1.5-13b-hf", 13_351_494_656, 5120, 13824, 40, 40),
    ),
)
