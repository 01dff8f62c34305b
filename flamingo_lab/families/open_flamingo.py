"""OpenFlamingo 3B, 4B and 9B (2023): gated cross-attention from CLIP ViT-L/14 into a frozen MPT or RedPajama decoder.

Layout, formulas and prompts follow mlfoundations/open_flamingo at 655f693. A published repository holds `checkpoint.pt`
alone: what was trained; language model, tokenizer and tower come from their own repositories. arXiv 2308.01390
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from flamingo_lab.config import Architecture, Cross, Decoder, Resampler, Tower
from flamingo_lab.errors import BadCheckpoint, BadConfig, BadSetting
from flamingo_lab.family import MAIN, Family, Folder, Size, plain_sources
from flamingo_lab.layouts import clip, mpt, neox, open_clip
from flamingo_lab.markup.marks import Marks
from flamingo_lab.pixels import RGB, CentreCrop, OneView, Pipeline, ResizeShortest
from flamingo_lab.prompt import CAPTION, QUESTION_ANSWER
from flamingo_lab.tokens import TokenizerFile
from flamingo_lab.weights import Rule, Rules, Split, halves, inside
from flamingo_lab.wording import Running

if TYPE_CHECKING:
    from flamingo_lab.checkpoint import Tensors

INTERVAL = "cross_attn_every_n_layers"
IMAGE, CHUNK_END, PAD = "<image>", "<|endofchunk|>", "<PAD>"
HEADS, HEAD_WIDTH, DEPTH, LATENTS = 8, 64, 6, 64
"""Constants of the authors' code, the last two where no tensor says otherwise."""


class Language(NamedTuple):
    """A kind of language model: its layout, where its layers are, and what its files hold beside weights."""

    decoder: Callable[..., Decoder]
    rules: Callable[..., Sequence[Rule]]
    layers: str
    surplus: Callable[[Decoder], tuple[str, ...]] = lambda built: ()


LANGUAGES = {
    "mosaic_gpt": Language(mpt.mpt_1b, mpt.mpt_1b_rules, mpt.LAYERS),
    "mpt": Language(mpt.mpt_7b, mpt.mpt_7b_rules, mpt.LAYERS),
    "gpt_neox": Language(neox.decoder, neox.rules, neox.LAYERS, neox.surplus),
}
"""By the `model_type` of the language model's own config.json."""

RESAMPLER: tuple[Rule, ...] = (
    ("latents", "latents"),
    ("layers.{n}.0.norm_{media|latents}.{weight|bias}", "layers.{n}.{patches|latents}_norm.{weight|bias}"),
    ("layers.{n}.0.to_{q|out}.weight", "layers.{n}.attention.{q|out}.weight"),
    Split("layers.{n}.0.to_kv.weight", ("layers.{n}.attention.k.weight", "layers.{n}.attention.v.weight"), halves),
    ("layers.{n}.1.0.{weight|bias}", "layers.{n}.mlp_norm.{weight|bias}"),
    ("layers.{n}.1.{1|3}.weight", "layers.{n}.mlp.{up|down}.weight"),
    ("norm.{weight|bias}", "norm.{weight|bias}"),
)
GATED: tuple[Rule, ...] = (
    ("{attn|ff}_gate", "{attention|mlp}_gate"),
    ("attn.norm.{weight|bias}", "attention_norm.{weight|bias}"),
    ("attn.to_{q|out}.weight", "attention.{q|out}.weight"),
    Split("attn.to_kv.weight", ("attention.k.weight", "attention.v.weight"), halves),
    ("ff.0.{weight|bias}", "mlp_norm.{weight|bias}"),
    ("ff.{1|3}.weight", "mlp.{up|down}.weight"),
)
PROJECTION = "visual_projection.weight"


def matches(folder: Folder) -> bool:
    """Nothing but a checkpoint with a resampler beside a language model."""
    if folder.config or not folder.has("checkpoint.pt"):
        return False
    at = prefix(folder)
    return f"{at}perceiver.latents" in folder.checkpoint and any(
        name.startswith(f"{at}lang_encoder.") for name in folder.checkpoint
    )


def prefix(folder: Folder) -> str:
    """What stands before every name: the trainer's files keep that of its wrapper."""
    return "module." if all(name.startswith("module.") for name in folder.checkpoint) and folder.checkpoint else ""


def language(folder: Folder) -> Language:
    """The kind of the folder's language model."""
    of_language = folder.part("language_model")
    kind = of_language.config.get("model_type")
    if kind not in LANGUAGES:
        raise BadConfig(f"{of_language.path / 'config.json'}: model_type {kind!r} is none of {', '.join(LANGUAGES)}")
    return LANGUAGES[kind]


def interval(folder: Folder) -> int:
    """Layers from one gated block to the next: read from the tensors' names, with which an option has to agree."""
    layers = language(folder).layers
    pattern = re.compile(re.escape(f"{prefix(folder)}lang_encoder.{layers}.") + r"(\d+)\.gated_cross_attn_layer\..*")
    blocks = [int(match[1]) for name in folder.checkpoint if (match := pattern.fullmatch(name))]
    if folder.checkpoint and not blocks:
        raise BadCheckpoint(
            f"{folder.path}: no gated block before a layer of {layers}; another language model than that of "
            f"{folder.part('language_model').path} belongs to it"
        )
    held = min(blocks) + 1 if blocks else folder.config[INTERVAL]
    if folder.options.get(INTERVAL, held) != held:
        raise BadSetting(
            f"{INTERVAL} is {folder.options[INTERVAL]}, but {folder.path} has a gated block every {held} layers"
        )
    return held


def architecture(folder: Folder) -> Architecture:
    """The model of the language model's config.json, the tower's, and the shapes of what was trained."""
    vocab = folder.config.get("vocab_size") or len(tokenizer(folder))
    decoder = language(folder).decoder(folder.part("language_model").config, vocab=vocab)
    seen = tower(folder.part("vision"))
    latents = folder.shape(f"{prefix(folder)}perceiver.latents")
    depth = sum(name.endswith(".0.to_q.weight") for name in folder.checkpoint)
    connector = Resampler(
        width=seen.width,
        depth=depth or DEPTH,
        heads=HEADS,
        head_width=HEAD_WIDTH,
        latents=latents[0] if latents else LATENTS,
        mlp_width=4 * seen.width,
        has_qk_norms=False,
        activation="gelu",
    )
    every = interval(folder)
    join = Cross(
        layers=tuple(range(every - 1, decoder.layers, every)),
        kv_width=connector.out_width,
        heads=HEADS,
        head_width=HEAD_WIDTH,
        mlp_width=4 * decoder.width,
        norm="layer",
        norm_eps=1e-5,
        activation="gelu",
        is_gated=False,
        has_qk_norms=False,
        gate="scalar",
    )
    return Architecture(seen, connector, decoder, join)


def tower(folder: Folder) -> Tower:
    """CLIP's tower in either layout: the patches' tokens of its last layer, before the norm behind it."""
    if folder.has(open_clip.CONFIG):
        return open_clip.tower(folder, reads_layer=-1, drops_first=True)
    if not folder.config:
        raise BadConfig(f"{folder.path}: neither {open_clip.CONFIG} nor config.json in it, so it is no CLIP model")
    projection = folder.shape(PROJECTION)
    built = clip.tower(folder.config, reads_layer=-1, drops_first=True)
    listed = None if folder.checkpoint else folder.config["projection_dim"]
    return replace(built, projection=projection[0] if projection else listed)


def rules(folder: Folder, built: Architecture) -> Mapping[str, Rules]:
    """Names in the checkpoint and in the repositories beside it.

    The checkpoint goes before the language model: it holds the embeddings with the new tokens, and in early revisions
    every layer.
    """
    assert isinstance(built.join, Cross)
    kind, at = language(folder), prefix(folder)
    held = partial(name_in_checkpoint, kind.layers, at)
    blocks = [
        inside(held(f"{kind.layers}.{layer}.gated_cross_attn_layer", own=False), f"join.{block}", GATED)
        for block, layer in enumerate(built.join.layers)
    ]
    decoder = [
        rule._replace(published=held(rule.published)) if isinstance(rule, Split) else (held(rule[0]), rule[1])
        for rule in kind.rules(built.decoder)
    ]
    trained = (*inside(f"{at}perceiver", "connector", RESAMPLER), *(rule for block in blocks for rule in block))
    twice = [name for name in folder.part("language_model").checkpoint if held(name) in folder.checkpoint]
    return {
        MAIN: Rules((*trained, *decoder), surplus=kind.surplus(built.decoder)),
        "vision": _vision_rules(folder.part("vision"), built.tower),
        "language_model": Rules(kind.rules(built.decoder, cuts=True), surplus=(*kind.surplus(built.decoder), *twice)),
    }


def name_in_checkpoint(layers: str, at: str, name: str, *, own: bool = True) -> str:
    """Where the checkpoint keeps a tensor of the language model; a layer's `own` ones stand beside its gated block."""
    if own:
        name = re.sub(rf"^({re.escape(layers)}\.(?:\d+|\{{n\}}))\.", r"\1.decoder_layer.", name)
    return f"{at}lang_encoder.{name}"


def _vision_rules(folder: Folder, built: Tower) -> Rules:
    if folder.has(open_clip.CONFIG):
        return Rules(open_clip.RULES, surplus=open_clip.UNREAD)
    projection = ((PROJECTION, "tower.projection.weight"),) if built.projection else ()
    unread = [name for name in clip.UNREAD if name != PROJECTION]
    return Rules((*clip.rules(), *projection), surplus=unread)


def tensors(folder: Folder, rules: Mapping[str, Rules]) -> Mapping[str, Tensors]:
    """The files' own; a repository of CLIP may hold several layouts, of which the one that was recognised is read."""
    vision = folder.part("vision")
    if not vision.has(open_clip.CONFIG):
        return plain_sources(folder, rules)
    others = {part: one for part, one in rules.items() if part != "vision"}
    return {**plain_sources(folder, others), "vision": open_clip.checkpoint(vision)}


def pipeline(folder: Folder, built: Architecture) -> Pipeline:
    """open_clip's: the shorter side to the tower's, the middle of it, then RGB, so that a palette is resized unblended."""
    vision = folder.part("vision")
    if vision.has(open_clip.CONFIG):
        normalise = open_clip.normalise(vision)
    else:
        normalise = clip.normalise(vision.json("preprocessor_config.json"))
    px = built.tower.image_px
    return OneView((ResizeShortest(px), CentreCrop(px, rounds=True), RGB()), normalise)


def tokenizer(folder: Folder) -> TokenizerFile:
    """The language model's `tokenizer.json` with the tokens that the authors' loader adds."""
    home = folder.part("language_model")
    settings = home.json("tokenizer_config.json")
    has_pad = settings.get("pad_token") or home.json("special_tokens_map.json").get("pad_token")
    return TokenizerFile(
        home.path / "tokenizer.json",
        added=(CHUNK_END, IMAGE) if has_pad else (CHUNK_END, IMAGE, PAD),
        tidies=settings.get("clean_up_tokenization_spaces", True),
    )


BASE = Running(
    ends=CHUNK_END,
    says={QUESTION_ANSWER: "Question:{text} Short answer:{answer}", CAPTION: "Output:{answer}"},
    stop_tokens=(CHUNK_END,),
    cuts={QUESTION_ANSWER: "openflamingo-vqa", CAPTION: "openflamingo-caption-unquoted"},
)
"""The authors' prompts of question answering and captioning, and what `eval/evaluate.py` cuts off the answers."""

RECOMMENDED = {
    "captions": "--beams 3 --length-penalty 0 --max-new-tokens 20",
    "question answering": "--beams 3 --length-penalty 0 --max-new-tokens 5",
}
"""What made the paper's tables; docstrings beside that code say a length penalty of -2."""

CLIP_HUB = "openai/clip-vit-large-patch14"
MPT_1B_HUB = "anas-awadalla/mpt-1b-redpajama-200b"
REDPAJAMA_HUB = "togethercomputer/RedPajama-INCITE-{}-3B-v1"


def _size(name: str, parameters: int, every: int, config: dict[str, Any], hub: str) -> Size:
    return Size(
        f"openflamingo-{name.lower()}",
        parameters,
        {INTERVAL: every, "vocab_size": 50280},
        "base",
        f"openflamingo/OpenFlamingo-{name}",
        licence="MIT; the language model under its own terms",
        part_configs={"vision": clip.LARGE_224 | {"projection_dim": 768}, "language_model": config},
        part_hubs={"language_model": hub},
        recommended=RECOMMENDED,
    )


FAMILY = Family(
    name="open_flamingo",
    title="OpenFlamingo",
    paper="arXiv 2308.01390",
    matches=matches,
    architecture=architecture,
    rules=rules,
    tensors=tensors,
    parts=lambda folder: {"vision": CLIP_HUB, "language_model": None},
    options=(INTERVAL,),
    pipeline=pipeline,
    tokenizer=tokenizer,
    markup=lambda folder: Marks(IMAGE),
    wordings={"base": BASE},
    wording=lambda folder: "base",
    forbidden=(IMAGE,),
    beam_counts="prompt+new",
    sizes=(
        _size("3B-vitl-mpt1b", 2_559_117_360, 1, mpt.MPT_1B, MPT_1B_HUB),
        _size("3B-vitl-mpt1b-langinstruct", 2_559_117_360, 1, mpt.MPT_1B, f"{MPT_1B_HUB}-dolly"),
        _size("4B-vitl-rpj3b", 4_039_816_224, 2, neox.REDPAJAMA_3B, REDPAJAMA_HUB.format("Base")),
        _size("4B-vitl-rpj3b-langinstruct", 4_039_816_224, 2, neox.REDPAJAMA_3B, REDPAJAMA_HUB.format("Instruct")),
        _size("9B-vitl-mpt7b", 8_131_465_232, 4, mpt.MPT_7B, "anas-awadalla/mpt-7b"),
    ),
)
