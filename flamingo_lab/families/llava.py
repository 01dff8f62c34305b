"""LLaVA 1, 1.5 and 1.6, BakLLaVA-1: a CLIP tower, a projector, and a LLaMA or Mistral decoder that reads picture tokens.

Layout, formulas and prompts follow haotian-liu/LLaVA (main, May 2024) and SkunkworksAI/BakLLaVA. Papers: arXiv 2304.08485,
2310.03744; LLaVA-1.6: https://llava-vl.github.io/blog/2024-01-30-llava-next
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flamingo_lab.config import Architecture
from flamingo_lab.errors import BadSetting
from flamingo_lab.family import MAIN, Family, Folder, Size, flag, plain_sources, stated_eos
from flamingo_lab.layouts import clip, llama, llava_text, unmerged
from flamingo_lab.layouts import llava as layout
from flamingo_lab.notes import note
from flamingo_lab.templates import LLAVA
from flamingo_lab.tokens import SentencePieceFile
from flamingo_lab.weights import Rule, Rules

if TYPE_CHECKING:
    from flamingo_lab.checkpoint import Tensors


NEWLINE = "model.image_newline"


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
    return layout.architecture(folder, len(tokenizer(folder)) if folder.has("config.json") else None)


def rules(folder: Folder, built: Architecture) -> Mapping[str, Rules]:
    """Names in the main files, and in the tower's repository unless the tower is tuned and inside (LLaVA-1.6)."""
    has_newline = built.tiling is not None and built.tiling.has_newline
    own: tuple[Rule, ...] = (*llama.rules(vocab=built.decoder.vocab), *layout.projector_rules(built.connector))
    surplus = llama.surplus(built.decoder)
    if has_newline:
        own = (*own, (NEWLINE, "newline"))
    elif "unpad" in folder.config.get("mm_patch_merge_type", ""):
        surplus = (*surplus, NEWLINE)  # published, and never read where pictures are not cut
    if _reads_inner_tower(folder):
        return {MAIN: Rules((*own, *clip.rules(layout.INNER_TOWER)), surplus=(*surplus, *clip.BUFFERS))}
    return {
        MAIN: Rules(own, surplus=(*surplus, f"{layout.INNER_TOWER}.*")),
        "vision": Rules(clip.rules(), surplus=clip.UNREAD),
    }


def _reads_inner_tower(folder: Folder) -> bool:
    """Whether the tower is tuned and inside, or frozen and inside where its own repository's folder has no weights."""
    if folder.config.get("unfreeze_mm_vision_tower", False):
        return True
    vision = folder.part("vision").path
    has_weights = any(True for form in unmerged.FULL for _ in vision.glob(form))
    if has_weights or unmerged.needs_base(folder):
        return False
    has_copy = any(name.startswith(layout.INNER_TOWER) for name in folder.checkpoint)
    if has_copy:
        note(f"{vision} holds no weights: the copy of the tower in {folder.path} is read")
    return has_copy


def tokenizer(folder: Folder) -> SentencePieceFile:
    """`tokenizer.model`, the base's where the folder has none.

    LLaVA-1.6's authors took the fast tokenizer for Mistral, the slow one for all others. White space beside added tokens
    was lost in transformers of LLaVA-1's time, whose projectors had no type; settings that describe the added tokens are
    of a later one.
    """
    home, config = _home(folder), folder.config
    is_old = config.get("mm_projector_type") is None and not home.json("tokenizer_config.json").get(
        "added_tokens_decoder"
    )
    return llava_text.tokenizer(home, config, is_fast=_is_tiled_mistral(config), strips=is_old)


def _home(folder: Folder) -> Folder:
    """The folder with the tokenizer: a base's where the folder has none of its own."""
    is_own = folder.has("tokenizer.model") or not unmerged.needs_base(folder)
    return folder if is_own else unmerged.base(folder)


def _is_tiled_mistral(config: Mapping[str, Any]) -> bool:
    """LLaVA-1.6's, not BakLLaVA's."""
    return config.get("model_type") == "llava_mistral" and "mm_patch_merge_type" in config


def wording(folder: Folder) -> str:
    """The template of the decoder that the model was trained on.

    What the authors read off the folder's name is read off its files: ChatML's tokens, tiles on Mistral, the padding
    token of Vicuna 0 or the model type of the deltas on it, a linear projector on LLaMA-2 (whose context is longer than
    LLaMA-1's).
    """
    config = folder.config
    if tokenizer(folder).id_of("<|im_end|>") is not None:
        return "chatml_direct"
    if _is_tiled_mistral(config):
        return "mistral_instruct"
    if (config.get("mm_projector_type") or "linear") != "linear":
        return "vicuna_v1"
    if "[PAD]" in folder.json("added_tokens.json") or config.get("model_type") == "llama":
        return "llava_v0"
    return "llava_llama_2" if config.get("max_position_embeddings", 2048) > 2048 else "llava_v1"


TOWERS = {
    "openai/clip-vit-large-patch14": clip.LARGE_224,
    "openai/clip-vit-large-patch14-336": clip.LARGE_336,
}
_224, _336 = TOWERS


def _decoder(width: int, inner: int, layers: int, heads: int, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": 32000,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 4096,
        "mm_vision_tower": _336,
        "mm_vision_select_layer": -2,
    } | more


_7B = _decoder(4096, 11008, 32, 32)
_13B = _decoder(5120, 13824, 40, 40)
_MISTRAL = _decoder(4096, 14336, 32, 32, num_key_value_heads=8, max_position_embeddings=32768)
_V01, _V02 = {"sliding_window": 4096}, {"rope_theta": 1e6}
_34B = _decoder(7168, 20480, 60, 56, num_key_value_heads=8, vocab_size=64000, rope_theta=5e6)
_1 = {"vocab_size": 32003, "rms_norm_eps": 1e-6, "max_position_embeddings": 2048, "mm_vision_tower": _224}
_15 = {"mm_projector_type": "mlp2x_gelu", "image_aspect_ratio": "pad"}
_16 = {
    "mm_projector_type": "mlp2x_gelu",
    "image_aspect_ratio": "anyres",
    "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]],
    "mm_patch_merge_type": "spatial_unpad",
    "unfreeze_mm_vision_tower": True,
    "tokenizer_model_max_length": 4096,
}
RECOMMENDED = layout.RECOMMENDED | {"conversation": "--temperature 0.2 --max-new-tokens 512"}
"""As the benchmarks' scripts and serve/cli.py decode."""

BAKLLAVA = {"benchmarks": "--beams 1", "one question": "--temperature 0.2 --max-new-tokens 1024"}
"""The latter is the default of its eval/run_llava.py."""

_LLAMA_TERMS = "LLaMA's terms on the language model, Apache-2.0 on the code"
_LLAMA_2_TERMS = "Llama 2 Community License"


def _size(
    name: str,
    parameters: int,
    config: dict[str, Any],
    wording: str,
    licence: str,
    *,
    owner: str = "liuhaotian",
    base: str | None = None,
    recommended: Mapping[str, str] = RECOMMENDED,
) -> Size:
    return Size(
        name.lower(),
        parameters,
        config,
        wording,
        f"{owner}/{name}",
        licence=licence,
        part_configs={"vision": TOWERS[config["mm_vision_tower"]]},
        part_hubs={"base": base} if base else {},
        recommended=recommended,
    )


def _lora(size: str, parameters: int, config: dict[str, Any]) -> Size:
    base = f"lmsys/vicuna-{size}-v1.5"
    return _size(f"llava-v1.5-{size}-lora", parameters, config, "vicuna_v1", _LLAMA_2_TERMS, base=base)


FAMILY = Family(
    name="llava",
    title="LLaVA 1, 1.5, 1.6 and BakLLaVA",
    paper="arXiv 2304.08485, 2310.03744, https://llava-vl.github.io/blog/2024-01-30-llava-next",
    matches=matches,
    architecture=architecture,
    rules=rules,
    tensors=tensors,
    parts=parts,
    pipeline=layout.pipeline,
    tokenizer=tokenizer,
    markup=lambda folder: llava_text.markup(_home(folder), folder.config),
    wordings=LLAVA,
    wording=wording,
    eos=lambda folder: stated_eos(_home(folder)),
    sizes=(
        _size("LLaVA-7b-delta-v0", 7_045_818_368, _7B | _1, "llava_v0", _LLAMA_TERMS),
        _size("LLaVA-13b-delta-v0", 13_324_322_816, _13B | _1, "llava_v0", _LLAMA_TERMS),
        _size("LLaVA-13b-delta-v0-science_qa", 13_324_322_816, _13B | _1, "llava_v0", _LLAMA_TERMS),
        _size("LLaVA-13b-delta-v1-1", 13_324_322_816, _13B | _1, "llava_v1", _LLAMA_TERMS),
        _size("LLaVA-Lightning-7B-delta-v1-1", 7_045_818_368, _7B | _1, "llava_v1", _LLAMA_TERMS),
        _size("llava-v1.5-7b", 7_062_902_784, _7B | _15, "vicuna_v1", _LLAMA_2_TERMS),
        _size("llava-v1.5-13b", 13_350_839_296, _13B | _15, "vicuna_v1", _LLAMA_2_TERMS),
        _lora("7b", 7_062_902_784, _7B | _15),
        _lora("13b", 13_350_839_296, _13B | _15),
        _size("llava-v1.6-vicuna-7b", 7_062_906_880, _7B | _16, "vicuna_v1", _LLAMA_2_TERMS),
        _size("llava-v1.6-vicuna-13b", 13_350_844_416, _13B | _16, "vicuna_v1", _LLAMA_2_TERMS),
        _size("llava-v1.6-mistral-7b", 7_566_223_360, _MISTRAL | _16 | _V02, "mistral_instruct", "Apache-2.0"),
        _size("llava-v1.6-34b", 34_751_166_464, _34B | _16, "chatml_direct", "Apache-2.0"),
        _size(
            "BakLLaVA-1",
            7_566_219_264,
            _MISTRAL | _15 | _V01,
            "vicuna_v1",
            "Apache-2.0",
            owner="SkunkworksAI",
            recommended=BAKLLAVA,
        ),
    ),
)
