"""flamingo-tiny: its sizes, its recipe, and the folder in IDEFICS's published layout that comes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flamingo_lab.config import Architecture
from flamingo_lab.families import idefics
from flamingo_lab.family import Folder
from flamingo_lab.pixels import CLIP_MEAN, CLIP_STD
from flamingo_lab.train import language, pool, stages
from flamingo_lab.train.language import EXTRA, SPECIALS
from flamingo_lab.train.optimise import Progress, Recipe
from flamingo_lab.train.pictures import SIDE_PX
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import publish

NAME = "flamingo-tiny"


@dataclass(frozen=True)
class Tiny:
    """Sizes of the parts, as config.json states them, how each stage learns, and how many pictures are drawn for the last."""

    decoder: Mapping[str, int]
    tower: Mapping[str, int]
    resampler: Mapping[str, int]
    language_recipe: Recipe
    tower_recipe: Recipe
    join_recipe: Recipe
    drawn: int

    @property
    def steps(self) -> dict[str, int]:
        """Steps of each stage."""
        recipes = (self.language_recipe, self.tower_recipe, self.join_recipe)
        return {stage: recipe.steps for stage, recipe in zip(stages.STAGES, recipes, strict=True)}

    def config(self) -> dict[str, Any]:
        """config.json."""
        return {
            "model_type": "idefics",
            "vocab_size": language.vocabulary_size(),
            "additional_vocab_size": len(EXTRA),
            "tie_word_embeddings": True,
            "alpha_type": "float",
            "qk_layer_norms": True,
            "use_resampler": True,
            "torch_dtype": "bfloat16",
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
            "vision_config": {"image_size": SIDE_PX, **self.tower},
            "perceiver_config": {"qk_layer_norms_perceiver": True, **self.resampler},
            **self.decoder,
        }


TINY = Tiny(
    decoder={
        "hidden_size": 128,
        "intermediate_size": 344,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "cross_layer_interval": 1,
        "max_position_embeddings": 1024,
    },
    tower={
        "embed_dim": 96,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "patch_size": 8,
    },
    resampler={
        "resampler_depth": 2,
        "resampler_n_heads": 4,
        "resampler_head_dim": 24,
        "resampler_n_latents": 8,
    },
    language_recipe=Recipe(steps=2_400, batch=32),
    tower_recipe=Recipe(steps=1_200, batch=128),
    join_recipe=Recipe(steps=2_000, batch=24),
    drawn=6_000,
)


def architecture(tiny: Tiny) -> Architecture:
    """The model that `tiny` describes."""
    return idefics.architecture(Folder(Path(NAME), config=tiny.config()))


def train(out: Path, *, seed: int, progress: Progress, tiny: Tiny = TINY) -> Path:
    """The folder of the finished model, `out/flamingo-tiny`. The same call goes on where a killed one stood."""
    out.mkdir(parents=True, exist_ok=True)
    vlm = VLM(architecture(tiny))
    stages.initialise(vlm, seed)
    stages.train_language(vlm.decoder, tiny.language_recipe, seed, out, progress)
    tower = vlm.tower
    assert tower is not None  # an IDEFICS has one
    match = stages.CaptionMatch(tiny.tower["embed_dim"])
    stages.train_tower(tower, match, tiny.tower_recipe, seed, out, progress)
    vlm.requires_grad_(False)
    for _, parameter in stages.trained_in_join(vlm):
        parameter.requires_grad_(True)
    pictures = pool.build(tower, tiny.drawn, stages.seeded(seed, stages.JOIN, 0))
    stages.train_join(vlm, pictures, tiny.join_recipe, seed, out, progress)
    return export(vlm, tiny.config(), out / NAME)


def export(vlm: VLM, config: dict[str, Any], folder: Path) -> Path:
    """Write the model in IDEFICS's published layout, in bfloat16."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    rules = idefics.rules(Folder(folder, config=config), vlm.architecture)
    named = publish(vlm, [*rules.values()])
    tensors = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in named.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    unknown, start, end = SPECIALS
    special = {"bos_token": start, "eos_token": end, "unk_token": unknown, "pad_token": unknown}
    settings: dict[str, Any] = {
        "config.json": config,
        "generation_config.json": {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        "preprocessor_config.json": {"image_size": SIDE_PX, "image_mean": CLIP_MEAN, "image_std": CLIP_STD},
        "special_tokens_map.json": {**special, "additional_special_tokens": EXTRA},
        "tokenizer_config.json": {**special, "tokenizer_class": "LlamaTokenizerFast"},
    }
    for name, held in settings.items():
        (folder / name).write_text(json.dumps(held, indent=2) + "\n", encoding="utf-8")
    (folder / "tokenizer.json").write_text(language.tokenizer_json() + "\n", encoding="utf-8")
    return folder
