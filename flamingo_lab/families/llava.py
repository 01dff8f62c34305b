"""LLaVA 1, 1.5 and 1.6, BakLLaVA-1: a CLIP tower, a projector, and a LLaMA or Mistral decoder that reads picture tokens.

Layout, formulas and prompts follow haotian-liu/LLaVA (main, May 2024) and SkunkworksAI/BakLLaVA. Papers: arXiv 2304.08485,
2310.03744; LLaVA-1.6: https://llava-vl.github.io/blog/2024-01-30-llava-next
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flamingo_lab.config import Architecture, Inline, Tower
from flamingo_lab.errors import BadConfig, BadSetting
from flamingo_lab.family import MAIN, Family, Folder, Size, flag, plain_sources
from flamingo_lab.layouts import clip, llama, reading, unmerged
from flamingo_lab.layouts import llava as layout
from flamingo_lab.markup.chunks import Chunks
from flamingo_lab.pixels import RGB, Pipeline, Views
from flamingo_lab.templates import LLAVA
from flamingo_lab.tiles import Tiling
from flamingo_lab.tokens import SentencePieceFile
from flamingo_lab.weights import Rule, Rules

if TYPE_CHECKING:
    from flamingo_lab.checkpoint import Tensors

INNER_TOWER = "model.vision_tower.vision_tower.vision_model"
FEATURES = {"patch": True, "cls_patch": False}
"""Whether the class token is left out."""

MERGES = ("flat", "spatial", "spatial_unpad")


def matches(folder: Folder) -> bool:
    """Originals say where their tower is; other families that do so too have parts which these lack."""
    config = folder.config
    is_other = config.keys() & {"object_mm_projector_type", "train_mask_decoder", "moe"} or (
        config.get("model_type") == "llava_search" or "VSMForCausalLM" in (config.get("architectures") or ())
    )
    return "mm_vision_tower" in config and not is_other and not str(config.get("mm_projector_type")).endswith("_Norm")


def parts(folder: Folder) -> Mapping[str, str | None]:
    """The tower's repository, and the base of what is no whole model."""
    vision = {"vision": unmerged.repository(folder.config["mm_vision_tower"])}
    return vision | {"base": unmerged.base_of(folder) if unmerged.needs_base(folder) else None}


def tensors(folder: Folder, rules: Mapping[str, Rules]) -> Mapping[str, Tensors]:
    """The files' own tensors, or those of base and adapter, base and projector, base and delta put together."""
    if not unmerged.needs_base(folder):
        if "base" in folder.parts:
            raise BadSetting(f"{flag('base')}: {folder.path} holds a whole model near that base; leave it away")
        return plain_sources(folder, rules)
    others = {part: one for part, one in rules.items() if part != MAIN}
    return {MAIN: unmerged.merged(folder), **plain_sources(folder, others)}


def architecture(folder: Folder) -> Architecture:
    """The model that config.json and the tower's own config.json describe."""
    config = folder.config
    vocab = len(tokenizer(folder)) if folder.has("config.json") else None
    decoder = llama.decoder(config, vocab=vocab)
    with reading("config.json: mm_vision_select_feature"):
        drops_first = FEATURES[config.get("mm_vision_select_feature", "patch")]
    vision = folder.part("vision")
    if not vision.config:
        raise BadConfig(f"{vision.path / 'config.json'}: missing or empty; it says what the tower is")
    # Where the key is absent the authors' first code read the last layer; all later code asks for the key.
    tower = clip.tower(vision.config, reads_layer=config.get("mm_vision_select_layer", -1), drops_first=drops_first)
    if config.get("mm_hidden_size", tower.width) != tower.width:
        raise BadConfig(
            f"{vision.path}: a tower of width {tower.width}, where config.json of {folder.path} asks for "
            f"{config['mm_hidden_size']}; is it {config['mm_vision_tower']}?"
        )
    connector = layout.projector(config.get("mm_projector_type") or "linear", tower.width, decoder.width)
    return Architecture(
        tower, connector, decoder, Inline(config.get("tokenizer_model_max_length")), tiling(config, tower)
    )


def tiling(config: Mapping[str, Any], tower: Tower) -> Tiling | None:
    """How pictures of any resolution are cut, None where they are not (before LLaVA-1.6)."""
    if config.get("image_aspect_ratio") != "anyres":
        return None
    grids = _grids(config.get("image_grid_pinpoints"), tower.image_px)
    merge = config.get("mm_patch_merge_type", "flat")
    if merge not in MERGES:
        raise BadConfig(f"config.json: mm_patch_merge_type {merge!r} is none of {', '.join(MERGES)}")
    return Tiling(grids, tower.image_px, tower.image_px // tower.patch_px, merge)


def _grids(pinpoints: object, tile_px: int) -> tuple[tuple[int, int], ...]:
    """The canvases (width, height) of `image_grid_pinpoints`, a list or the text of one; each a whole number of tiles."""
    try:
        pairs: Any = ast.literal_eval(pinpoints) if isinstance(pinpoints, str) else pinpoints
        grids = tuple((int(width), int(height)) for width, height in pairs)
    except (ValueError, TypeError, SyntaxError):
        grids = ()
    if not grids or any(side < tile_px or side % tile_px for grid in grids for side in grid):
        raise BadConfig(
            f"config.json: image_grid_pinpoints {pinpoints!r} is no list of (width, height) in tiles of {tile_px} pixels"
        )
    return grids


def rules(folder: Folder, built: Architecture) -> Mapping[str, Rules]:
    """Names in the main files, and in the tower's repository unless the tower is tuned and inside (LLaVA-1.6)."""
    is_inside = folder.config.get("unfreeze_mm_vision_tower", False)
    newline: tuple[Rule, ...] = (
        (("model.image_newline", "newline"),) if built.tiling and built.tiling.has_newline else ()
    )
    own = (*llama.rules(vocab=built.decoder.vocab), *layout.projector_rules(built.connector), *newline)
    if is_inside:
        return {MAIN: Rules((*own, *clip.rules(INNER_TOWER)), surplus=(*llama.BUFFERS, *clip.BUFFERS))}
    return {
        MAIN: Rules(own, surplus=(*llama.BUFFERS, f"{INNER_TOWER}.*")),
        "vision": Rules(clip.rules(), surplus=clip.UNREAD),
    }


def pipeline(folder: Folder, built: Architecture) -> Pipeline:
    """Padded to a square, cut to tiles, or only cropped, as `image_aspect_ratio` says."""
    settings = folder.part("vision").json("preprocessor_config.json")
    plain = clip.pipeline(settings, built.tower)
    if built.tiling:
        return Views((RGB(),), built.tiling, plain)
    if folder.config.get("image_aspect_ratio") != "pad":
        return plain
    return layout.padded(plain)


def tokenizer(folder: Folder) -> SentencePieceFile:
    """`tokenizer.model`, the base's where the folder has none, with the tokens that the authors' loader adds.

    LLaVA-1.6's authors took the fast tokenizer for Mistral, the slow one for all others. Where the settings describe the
    added tokens they are newer than the versions that drop white space beside them.
    """
    home = _home(folder)
    settings = home.json("tokenizer_config.json")
    described = settings.get("added_tokens_decoder", {})
    added = {token["content"]: int(number) for number, token in described.items()}
    is_fast = folder.config.get("model_type") == "llava_mistral" and "mm_patch_merge_type" in folder.config
    wanted = {
        "<im_patch>": folder.config.get("mm_use_im_patch_token", True),
        "<im_start>": folder.config.get("mm_use_im_start_end", False),
        "<im_end>": folder.config.get("mm_use_im_start_end", False),
    }
    return SentencePieceFile(
        home.path / "tokenizer.model",
        added | home.json("added_tokens.json"),
        appended=[token for token, is_wanted in wanted.items() if is_wanted],
        rule="fast" if is_fast else "slow" if settings.get("legacy") is False else "legacy",
        strips=not described,
    )


def _home(folder: Folder) -> Folder:
    """The folder with the tokenizer: a base's where the folder has none of its own."""
    is_own = folder.has("tokenizer.model") or not unmerged.needs_base(folder)
    return folder if is_own else unmerged.base(folder)


def markup(folder: Folder) -> Chunks:
    """Each picture's mark stands on a line of its own, between two tokens where the model was trained so."""
    settings = _home(folder).json("tokenizer_config.json")
    named = settings.get("bos_token") or "<s>"
    start = named["content"] if isinstance(named, dict) else named
    is_framed = folder.config.get("mm_use_im_start_end", False)
    return Chunks(
        start=start if settings.get("add_bos_token", True) else None,
        picture=("<im_start>", "<im_end>\n") if is_framed else ("", "\n"),
    )


def wording(folder: Folder) -> str:
    """The template of the decoder that the model was trained on.

    What the authors read off the folder's name is read off its files: ChatML's tokens, tiles on Mistral, the padding
    token of Vicuna 0 or the model type of the deltas on it, a linear projector on LLaMA-2 (whose context is longer than
    LLaMA-1's).
    """
    config = folder.config
    if tokenizer(folder).id_of("<|im_end|>") is not None:
        return "chatml_direct"
    if config.get("model_type") == "llava_mistral" and "mm_patch_merge_type" in config:
        return "mistral_instruct"
    if (config.get("mm_projector_type") or "linear") != "linear":
        return "vicuna_v1"
    if "[PAD]" in folder.json("added_tokens.json") or config.get("model_type") == "llama":
        return "llava_v0"
    return "llava_llama_2" if config.get("max_position_embeddings", 2048) > 2048 else "llava_v1"


def _decoder(width: int, inner: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": 32000,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "mm_vision_tower": "openai/clip-vit-large-patch14-336",
        "mm_vision_select_layer": -2,
    } | more


_7B = _decoder(4096, 11008, 32, 32)
_13B = _decoder(5120, 13824, 40, 40)
_MISTRAL = _decoder(4096, 14336, 32, 32, num_key_value_heads=8)
_34B = _decoder(7168, 20480, 60, 56, num_key_value_heads=8, vocab_size=64000, rope_theta=5e6)
_1 = {"vocab_size": 32003}
_15 = {"mm_projector_type": "mlp2x_gelu", "image_aspect_ratio": "pad"}
_16 = {
    "mm_projector_type": "mlp2x_gelu",
    "image_aspect_ratio": "anyres",
    "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
    "mm_patch_merge_type": "spatial_unpad",
    "unfreeze_mm_vision_tower": True,
    "tokenizer_model_max_length": 4096,
}
_LLAMA_TERMS = "LLaMA's terms on the language model, Apache-2.0 on the code"
_LLAMA_2_TERMS = "Llama 2 Community License"


def _size(
    name: str,
    parameters: int,
    config: dict[str, Any],
    wording: str,
    licence: str,
    tower: dict[str, Any] = clip.LARGE_336,
    owner: str = "liuhaotian",
) -> Size:
    return Size(
        name.lower(), parameters, config, wording, f"{owner}/{name}", licence=licence, part_configs={"vision": tower}
    )


FAMILY = Family(
    name="llava",
    title="LLaVA 1, 1.5, 1.6 and BakLLaVA",
    paper="arXiv 2304.08485, 2310.03744, https://llava-vl.github.io/blog/2024-01-30-llava-next",
    matches=matches,
    architecture=architecture,
    rules=rules,
    tensors=tensors,
    parts=parts,
    pipeline=pipeline,
    tokenizer=tokenizer,
    markup=markup,
    wordings=LLAVA,
    wording=wording,
    sizes=(
        _size("LLaVA-7b-delta-v0", 7_045_818_368, _7B | _1, "llava_v0", _LLAMA_TERMS, clip.LARGE_224),
        _size("LLaVA-13b-delta-v0", 13_324_322_816, _13B | _1, "llava_v0", _LLAMA_TERMS, clip.LARGE_224),
        _size("llava-v1.5-7b", 7_062_902_784, _7B | _15, "vicuna_v1", _LLAMA_2_TERMS),
        _size("llava-v1.5-13b", 13_350_839_296, _13B | _15, "vicuna_v1", _LLAMA_2_TERMS),
        _size("llava-v1.5-7b-lora", 7_062_902_784, _7B | _15, "vicuna_v1", _LLAMA_2_TERMS),
        _size("llava-v1.5-13b-lora", 13_350_839_296, _13B | _15, "vicuna_v1", _LLAMA_2_TERMS),
        _size("llava-v1.6-vicuna-7b", 7_062_906_880, _7B | _16, "vicuna_v1", _LLAMA_2_TERMS),
        _size("llava-v1.6-vicuna-13b", 13_350_844_416, _13B | _16, "vicuna_v1", _LLAMA_2_TERMS),
        _size("llava-v1.6-mistral-7b", 7_566_223_360, _MISTRAL | _16, "mistral_instruct", "Apache-2.0"),
        _size("llava-v1.6-34b", 34_751_166_464, _34B | _16, "chatml_direct", "Apache-2.0"),
        _size("BakLLaVA-1", 7_566_219_264, _MISTRAL | _15, "vicuna_v1", "Apache-2.0", owner="SkunkworksAI"),
    ),
)
