"""The answering half of SEAL (V*): LLaVA on Vicuna 1.3 that also reads details which a search has found, in two lengths.

Layout, formulas and prompts follow penghao-wu/vstar, LLaVA/llava. Paper: arXiv 2312.14135. `flab eval --model seal` is this
model together with the one that searches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flamingo_lab.config import Architecture, Inline, Projector, Resampler, TwoLengths
from flamingo_lab.errors import BadConfig
from flamingo_lab.family import MAIN, Family, Folder, Size
from flamingo_lab.layouts import clip, llama, llava_text
from flamingo_lab.layouts import llava as layout
from flamingo_lab.markup.objects import Objects
from flamingo_lab.templates import VICUNA_V1
from flamingo_lab.tokens import SentencePieceFile
from flamingo_lab.weights import Rule, Rules, Split, halves, inside

HEADS = 16
"""Of the perceiver; a constant of the authors' builder that no tensor shows."""

PERCEIVER = "model.mm_projector_object.1"

LAYER: tuple[Rule, ...] = (
    ("0.norm_{media|latents}.{weight|bias}", "{patches|latents}_norm.{weight|bias}"),
    ("0.to_{q|out}.weight", "attention.{q|out}.weight"),
    Split("0.to_kv.weight", ("attention.k.weight", "attention.v.weight"), halves),
    ("1.0.{weight|bias}", "mlp_norm.{weight|bias}"),
    ("1.{1|3}.weight", "mlp.{up|down}.weight"),
)

SHORT: tuple[Rule, ...] = (
    ("model.mm_projector_object.{0|2}.{weight|bias}", "connector.short.{input_norm|out}.{weight|bias}"),
    (f"{PERCEIVER}.latents", "connector.short.latents"),
    Split(f"{PERCEIVER}.media_pos_emb", ("connector.short.place",), lambda tensor: [tensor.flatten()]),
    (f"{PERCEIVER}.norm.{{weight|bias}}", "connector.short.norm.{weight|bias}"),
    *inside(f"{PERCEIVER}.layers.{{n}}", "connector.short.layers.{n}", LAYER),
)


def architecture(folder: Folder) -> Architecture:
    """The model that config.json and the tower's own describe; the perceiver's sizes are read off its tensors."""
    config = folder.config
    kind = config.get("object_mm_projector_type", "perceiver")
    if kind != "perceiver":
        raise BadConfig(
            f"config.json: object_mm_projector_type {kind!r} is not known; the published model's is perceiver"
        )
    plain = layout.architecture(folder, len(tokenizer(folder)) if folder.has("config.json") else None)
    assert isinstance(plain.connector, Projector)
    short = perceiver(folder, plain.tower.width, plain.decoder.width)
    return replace(plain, connector=TwoLengths(plain.connector, short), join=Inline(), tiling=None)


def perceiver(folder: Folder, width: int, out_width: int) -> Resampler:
    """The resampler of the short form; without files at hand, of the published sizes."""
    latents = folder.shape(f"{PERCEIVER}.latents") or (32, width)
    queries = folder.shape(f"{PERCEIVER}.layers.0.0.to_q.weight") or (HEADS * 96, width)
    inner = folder.shape(f"{PERCEIVER}.layers.0.1.1.weight") or (4 * width, width)
    layers = {
        name.removeprefix(f"{PERCEIVER}.layers.").split(".")[0] for name in folder.checkpoint if PERCEIVER in name
    }
    return Resampler(
        width=width,
        depth=sum(name.isdigit() for name in layers) or 6,
        heads=HEADS,
        head_width=queries[0] // HEADS,
        latents=latents[0],
        mlp_width=inner[0],
        has_qk_norms=False,
        activation="gelu",
        has_input_norm=True,
        has_place=True,
        projects_to=out_width,
    )


def rules(folder: Folder, built: Architecture) -> Mapping[str, Rules]:
    """Names in the main files and in the tower's repository; a copy of the tower in the main files is passed over."""
    assert isinstance(built.connector, TwoLengths)
    long = layout.projector_rules(built.connector.long, ours="connector.long")
    own = (*llama.rules(vocab=built.decoder.vocab), *long, *SHORT)
    return {
        MAIN: Rules(own, surplus=(*llama.surplus(built.decoder), f"{layout.INNER_TOWER}.*")),
        "vision": Rules(clip.rules(), surplus=clip.UNREAD),
    }


def tokenizer(folder: Folder) -> SentencePieceFile:
    """`tokenizer.model`, as transformers 4.31 read it."""
    return llava_text.tokenizer(folder, folder.config, strips=True)


def markup(folder: Folder) -> Objects:
    """The picture's mark stands on a line of its own, an object's within the text."""
    built = architecture(folder)
    assert isinstance(built.connector, TwoLengths)
    plain = llava_text.markup(folder, folder.config)
    return Objects(built.tower.tokens, built.connector.short.latents, start=plain.start, picture=plain.picture)


_7B: dict[str, Any] = {
    "model_type": "llava_search",
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "mm_vision_tower": "openai/clip-vit-large-patch14",
    "mm_vision_select_layer": -2,
    "object_mm_projector_type": "perceiver",
    "image_aspect_ratio": "pad",
    "mm_use_im_patch_token": False,
}

FAMILY = Family(
    name="seal_vqa",
    title="SEAL (V*), the model that answers",
    paper="arXiv 2312.14135",
    matches=lambda folder: (
        folder.config.get("model_type") == "llava_search" or "object_mm_projector_type" in folder.config
    ),
    architecture=architecture,
    rules=rules,
    parts=lambda folder: {"vision": folder.config["mm_vision_tower"]},
    pipeline=layout.pipeline,
    tokenizer=tokenizer,
    markup=markup,
    wordings={"v1": VICUNA_V1},
    wording=lambda folder: "v1",
    sizes=(
        Size(
            "seal_vqa_7b",
            7_138_147_328,
            _7B,
            "v1",
            "craigwu/seal_vqa_7b",
            licence="LLaMA's terms on the language model, MIT on the code",
            part_configs={"vision": clip.LARGE_224},
            recommended={"one question": "--beams 1 --max-new-tokens 200"},
        ),
    ),
)
