"""LLaVA 1, 1.5 and 1.6, BakLLaVA-1: a CLIP tower, a projector, and a LLaMA or Mistral decoder that reads picture tokens.

Layout, formulas and prompts follow haotian-liu/LLaVA (main, May 2024) and SkunkworksAI/BakLLaVA. Papers: arXiv 2304.08485,
2310.03744; LLaVA-1.6: https://llava-vl.github.io/blog/2024-01-30-llava-next
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flamingo_lab.config import Architecture, Inline, Tower
from flamingo_lab.family import MAIN, Family, Folder, Size, plain_sources
from flamingo_lab.layouts import clip, llama, reading
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
ADAPTER, REST, PROJECTOR_FILE = "adapter_model", "non_lora_trainables.bin", "mm_projector.bin"
FULL = ("*.safetensors", "pytorch_model*.bin")
DELTA_NORM = 0.1
"""Below this mean size of the last norm's weights, which are near one in any LLaMA, a folder holds differences."""


def matches(folder: Folder) -> bool:
    """Originals say where their tower is; other families that do so too have parts which these lack."""
    config = folder.config
    is_other = config.keys() & {"object_mm_projector_type", "train_mask_decoder", "moe"} or (
        config.get("model_type") == "llava_search" or "VSMForCausalLM" in (config.get("architectures") or ())
    )
    return "mm_vision_tower" in config and not is_other and not config.get("mm_projector_type", "").endswith("_Norm")


def is_adapter(folder: Folder) -> bool:
    """Whether the folder holds LoRA adapters, to be merged into a base."""
    return folder.has("adapter_config.json")


def is_projector(folder: Folder) -> bool:
    """Whether the folder holds a projector alone, to be put beside a base."""
    full = (file for form in FULL for file in folder.path.glob(form) if ADAPTER not in file.name)
    return not is_adapter(folder) and folder.has(PROJECTOR_FILE) and not any(full)


def is_delta(folder: Folder) -> bool:
    """Whether the folder holds differences to a base (LLaVA-1's first releases)."""
    if is_adapter(folder) or is_projector(folder) or "model.norm.weight" not in folder.checkpoint:
        return False
    return float(folder.checkpoint.tensor("model.norm.weight").float().abs().mean()) < DELTA_NORM


def parts(folder: Folder) -> Mapping[str, str | None]:
    """The tower's repository, and the base of what is no whole model."""
    needs_base = is_adapter(folder) or is_projector(folder) or is_delta(folder)
    base = folder.json("adapter_config.json").get("base_model_name_or_path") or folder.config.get("_name_or_path")
    return {"vision": folder.config["mm_vision_tower"], "base": (base or "lmsys/vicuna-13b") if needs_base else None}


def tensors(folder: Folder, rules: Mapping[str, Rules]) -> Mapping[str, Tensors]:
    """The files' own tensors, or those of base and adapter, base and projector, base and delta put together."""
    if "base" not in folder.parts:
        return plain_sources(folder, rules)
    from flamingo_lab import checkpoint
    from flamingo_lab.merging import Adapted, Added, Joined, Renamed

    base = folder.part("base").checkpoint
    if is_adapter(folder):
        settings = folder.json("adapter_config.json")
        form = "safetensors" if folder.has(f"{ADAPTER}.safetensors") else "bin"
        adapter = checkpoint.open_file(folder.path / f"{ADAPTER}.{form}")
        with reading("adapter_config.json"):
            adapted = Adapted(base, adapter, settings["lora_alpha"] / settings["r"], "base_model.model.")
        rest = Renamed(checkpoint.open_file(folder.path / REST), _own_name)
        main: Tensors = Joined((adapted, rest))
    elif is_projector(folder):
        main = Joined((base, checkpoint.open_file(folder.path / PROJECTOR_FILE)))
    else:
        main = Added(base, folder.checkpoint)
    others = {part: one for part, one in rules.items() if part != MAIN}
    return {MAIN: main, **plain_sources(folder, others)}


def _own_name(name: str) -> str:
    """What the authors' loader makes of a name in `non_lora_trainables.bin`."""
    return name.removeprefix("base_model.").replace("model.model.", "model.", 1)


def architecture(folder: Folder) -> Architecture:
    """The model that config.json and the tower's own config.json describe."""
    config = folder.config
    vocab = len(tokenizer(folder)) if folder.path.is_dir() else None
    decoder = llama.decoder(config, vocab=vocab)
    is_patch = config.get("mm_vision_select_feature", "patch") == "patch"
    tower = clip.tower(
        folder.part("vision").config, reads_layer=config.get("mm_vision_select_layer", -2), drops_first=is_patch
    )
    connector = layout.projector(config.get("mm_projector_type", "linear"), tower.width, decoder.width)
    return Architecture(
        tower, connector, decoder, Inline(config.get("tokenizer_model_max_length")), tiling(config, tower)
    )


def tiling(config: Mapping[str, Any], tower: Tower) -> Tiling | None:
    """How pictures of any resolution are cut, None where they are not (before LLaVA-1.6)."""
    if config.get("image_aspect_ratio") != "anyres":
        return None
    grids = config["image_grid_pinpoints"]
    grids = ast.literal_eval(grids) if isinstance(grids, str) else grids
    merge = config.get("mm_patch_merge_type", "flat")
    side = tower.image_px // tower.patch_px
    return Tiling(tuple((width, height) for width, height in grids), tower.image_px, side, merge)


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

    LLaVA-1.6's authors took the fast tokenizer for Mistral, the slow one for all others.
    """
    home = folder if folder.has("tokenizer.model") or "base" not in folder.parts else folder.part("base")
    settings = home.json("tokenizer_config.json")
    is_fast = folder.config.get("model_type") == "llava_mistral" and "mm_patch_merge_type" in folder.config
    wanted = {
        "<im_patch>": folder.config.get("mm_use_im_patch_token", True),
        "<im_start>": folder.config.get("mm_use_im_start_end", False),
        "<im_end>": folder.config.get("mm_use_im_start_end", False),
    }
    return SentencePieceFile(
        home.path / "tokenizer.model",
        home.json("added_tokens.json"),
        appended=[token for token, is_wanted in wanted.items() if is_wanted],
        rule="fast" if is_fast else "legacy" if settings.get("legacy", True) else "slow",
        strips=True,
    )


def markup(folder: Folder) -> Chunks:
    """Each picture's mark stands on a line of its own, between two tokens where the model was trained so."""
    home = folder if folder.has("tokenizer_config.json") or "base" not in folder.parts else folder.part("base")
    start = "<s>" if home.json("tokenizer_config.json").get("add_bos_token", True) else None
    is_framed = folder.config.get("mm_use_im_start_end", False)
    return Chunks(start=start, picture=("<im_start>", "<im_end>\n") if is_framed else ("", "\n"))


def wording(folder: Folder) -> str:
    """The template of the decoder that the model was trained on.

    What the authors read off the folder's name is read off its files: ChatML's tokens, tiles on Mistral, the padding
    token of Vicuna 0, a linear projector on LLaMA-2 (whose context is longer than LLaMA-1's).
    """
    config = folder.config
    if tokenizer(folder).id_of("<|im_end|>") is not None:
        return "chatml_direct"
    if config.get("model_type") == "llava_mistral" and "mm_patch_merge_type" in config:
        return "mistral_instruct"
    if config.get("mm_projector_type", "linear") != "linear":
        return "vicuna_v1"
    if "[PAD]" in folder.json("added_tokens.json"):
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
