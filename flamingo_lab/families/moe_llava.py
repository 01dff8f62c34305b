"""MoE-LLaVA (January 2024): LLaVA-1.5's design with experts in every other layer of Phi-2, StableLM-2 or Qwen-1.8B.

Layout, formulas and prompts follow PKU-YuanGroup/MoE-LLaVA (6cb5f66) on DeepSpeed 0.9.5. Paper: arXiv 2401.15947.

The authors' router draws noise at inference too; here it is left out unless the loader is given a seed, `router_noise`.
Not reproduced: in a batch of exactly three their code takes the first row's feed-forward output for all rows; their own
scripts ask one question at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flamingo_lab.config import Architecture, Decoder, Experts, Inline, Tower
from flamingo_lab.errors import BadConfig
from flamingo_lab.family import MAIN, Family, Folder, Size
from flamingo_lab.layouts import clip, llama, phi, qwen, reading, repeated, siglip, stablelm
from flamingo_lab.layouts import llava as layout
from flamingo_lab.markup.chunks import Chunks
from flamingo_lab.pixels import OneView, Pipeline
from flamingo_lab.templates import USER_SYSTEM, two
from flamingo_lab.tokens import BytePairFiles, TiktokenFile
from flamingo_lab.weights import Rule, Rules, inside


@dataclass(frozen=True)
class Reads:
    """How a decoder is published: `root` and `layers` are what its tensors' names begin with, `mlp` names a branch's own."""

    decoder: Callable[..., Decoder]
    rules: Callable[..., tuple[Rule, ...]]
    tokenizer: Callable[[Folder], BytePairFiles | TiktokenFile]
    mlp: tuple[Rule, ...]
    root: str
    layers: str
    wording: str


@dataclass(frozen=True)
class Sees:
    """How a tower is published."""

    tower: Callable[..., Tower]
    rules: Callable[[], tuple[Rule, ...]]
    pipeline: Callable[[Mapping[str, Any], Tower], OneView]
    surplus: tuple[str, ...]


DECODERS = {
    "moe_llava_phi": Reads(phi.decoder, phi.rules, phi.tokenizer, phi.MLP, "model", "model.layers", "phi"),
    "moe_llava_stablelm": Reads(
        stablelm.decoder, stablelm.rules, stablelm.tokenizer, stablelm.MLP, "model", "model.layers", "stablelm"
    ),
    "moe_llava_qwen": Reads(qwen.decoder, qwen.rules, qwen.tokenizer, qwen.MLP, "transformer", "transformer.h", "qwen"),
}
"""By `model_type`."""

CLIP = Sees(clip.tower, clip.rules, clip.pipeline, clip.UNREAD)
SIGLIP = Sees(siglip.tower, siglip.rules, siglip.pipeline, siglip.UNREAD)

TURNS = two(USER_SYSTEM, "<|endoftext|>")


def reads(folder: Folder) -> Reads:
    """The folder's decoder."""
    kind = folder.config.get("model_type")
    if kind not in DECODERS:
        raise BadConfig(f"{folder.path / 'config.json'}: model_type {kind!r} is none of {', '.join(DECODERS)}")
    return DECODERS[kind]


def sees(folder: Folder) -> Sees:
    """The folder's tower: what its own config.json calls SigLIP, else CLIP."""
    return SIGLIP if folder.part("vision").config.get("model_type", "").startswith("siglip") else CLIP


def architecture(folder: Folder) -> Architecture:
    """The model that config.json and the tower's own config.json describe.

    QUIRK: the first of the tower's tokens is left out whatever it is; of SigLIP's, which have no class token, it is the
    patch at the top left (golden moe_llava_stablelm).
    """
    config = folder.config
    for key in ("mm_use_im_start_end", "mm_use_im_patch_token"):
        if config.get(key):
            raise BadConfig(f"{folder.path / 'config.json'}: {key} is not known in this family")
    vocab = len(reads(folder).tokenizer(folder)) if folder.path.is_dir() else None
    decoder = replace(reads(folder).decoder(config, vocab=vocab), experts=experts(folder))
    tower = sees(folder).tower(
        layout.described(folder).config,
        reads_layer=config.get("mm_vision_select_layer", -2),
        drops_first=layout.drops_first(config),
    )
    connector = layout.projector(config.get("image_projector_type", "linear"), tower.width, decoder.width)
    return Architecture(tower, connector, decoder, Inline(config.get("tokenizer_model_max_length")))


def experts(folder: Folder) -> Experts:
    """The experts that `moe` in config.json describes, with their places at inference."""
    moe, layers = folder.config["moe"], range(folder.config.get("num_hidden_layers", 0))
    with reading("config.json, moe"):
        if moe["top_k_experts"] not in (1, 2):
            raise BadConfig(f"config.json, moe: top_k_experts is {moe['top_k_experts']}; DeepSpeed has one or two")
        found = Experts(
            layers=tuple(moe["moe_layers_idx"]),
            counts=tuple(moe["num_experts"]),
            capacity_factor=moe["eval_capacity_factor"],
            min_capacity=moe["min_capacity"],
            balance_weight=moe["router_aux_loss_coef"],
            noise_seed=folder.options.get("router_noise"),
            chosen=moe["top_k_experts"],
            has_common=moe["use_residual"],
        )
    if len(found.layers) != len(found.counts) or set(found.layers) - set(layers) or min(found.counts, default=2) < 2:
        raise BadConfig(
            f"config.json, moe: moe_layers_idx {list(found.layers)} and num_experts {list(found.counts)} do not fit "
            f"{len(layers)} layers; one number of experts, two at least, is expected for each"
        )
    return found


def rules(folder: Folder, built: Architecture) -> Mapping[str, Rules]:
    """Names in the main files and in the tower's repository; the authors' loader passes over a tower in the main files."""
    text, tower = reads(folder), sees(folder)
    mixture = (
        ("deepspeed_moe.gate.wg.weight", "router.weight"),
        *inside("deepspeed_moe.experts.deepspeed_experts.{n}", "experts.{n}", text.mlp),
        *inside("mlp", "common", text.mlp),
        ("coefficient.{weight|bias}", "shares.{weight|bias}"),
    )
    own = (
        *text.rules(vocab=built.decoder.vocab),
        *inside(f"{text.layers}.{{n}}.mlp", "decoder.layers.{n}.mlp", mixture),
        *layout.projector_rules(built.connector, f"{text.root}.mm_projector.image_spatial_proj"),
    )
    return {
        MAIN: Rules(
            own,
            surplus=(*llama.BUFFERS, f"{text.root}.image_tower.*", *repeated(built.decoder, "lm_head.weight")),
        ),
        "vision": Rules(tower.rules(), surplus=tower.surplus),
    }


def pipeline(folder: Folder, built: Architecture) -> Pipeline:
    """The tower's own, behind padding where `image_aspect_ratio` asks for it."""
    plain = sees(folder).pipeline(folder.part("vision").json("preprocessor_config.json"), built.tower)
    return layout.as_told(plain, folder)


def _moe(layers: int) -> dict[str, Any]:
    chosen = list(range(0, layers, 2))
    return {
        "moe_layers_idx": chosen,
        "num_experts": [4] * len(chosen),
        "top_k_experts": 2,
        "eval_capacity_factor": 2.0,
        "min_capacity": 0,
        "use_residual": False,
        "router_aux_loss_coef": 0.01,
    }


def _published(kind: str, width: int, inner: int, layers: int, heads: int, vocab: int, **more: Any) -> dict[str, Any]:
    return {
        "model_type": f"moe_llava_{kind}",
        "vocab_size": vocab,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "mm_image_tower": "openai/clip-vit-large-patch14-336",
        "image_projector_type": "mlp2x_gelu",
        "image_aspect_ratio": "pad",
        "tokenizer_model_max_length": 2048,
        "moe": _moe(layers),
    } | more


_PHI = _published("phi", 2560, 10240, 32, 32, 51200, partial_rotary_factor=0.4)
_STABLELM = _published("stablelm", 2048, 5632, 24, 32, 100352)
_QWEN = _published("qwen", 2048, 11008, 24, 16, 151936)
_384 = {"mm_image_tower": "google/siglip-so400m-patch14-384"}


def _size(name: str, parameters: int, config: dict[str, Any], tower: dict[str, Any] = clip.LARGE_336) -> Size:
    return Size(
        name.lower(),
        parameters,
        config,
        DECODERS[config["model_type"]].wording,
        f"LanguageBind/{name}",
        licence="research preview, non-commercial; Apache-2.0 on the code",
        part_configs={"vision": tower},
        recommended=layout.RECOMMENDED,
    )


FAMILY = Family(
    name="moe_llava",
    title="MoE-LLaVA",
    paper="arXiv 2401.15947",
    matches=lambda folder: "mm_image_tower" in folder.config and "moe" in folder.config,
    parts=lambda folder: {"vision": folder.config["mm_image_tower"]},
    options=("router_noise",),
    architecture=architecture,
    rules=rules,
    pipeline=pipeline,
    tokenizer=lambda folder: reads(folder).tokenizer(folder),
    markup=lambda folder: Chunks(start=None),
    wordings={text.wording: TURNS for text in DECODERS.values()},
    wording=lambda folder: reads(folder).wording,
    sizes=(
        _size("MoE-LLaVA-StableLM-1.6B-4e", 3_200_124_928, _STABLELM),
        _size("MoE-LLaVA-Qwen-1.8B-4e", 3_364_126_720, _QWEN),
        _size("MoE-LLaVA-Phi2-2.7B-4e", 5_609_680_896, _PHI),
        _size("MoE-LLaVA-StableLM-1.6B-4e-384", 3_309_866_864, _STABLELM | _384, siglip.SO400M_384),
        _size("MoE-LLaVA-Phi2-2.7B-4e-384", 5_719_488_368, _PHI | _384, siglip.SO400M_384),
    ),
)
