"""The published sizes on the meta device: their parameter counts, and every tensor's name and shape in all three folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from flamingo_lab import families
from flamingo_lab.checkpoint import Checkpoint, Entry
from flamingo_lab.family import Folder, Size
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import check

Shapes = dict[str, tuple[int, ...]]

COUNTS = {
    "openflamingo-3b-vitl-mpt1b": (2_559_117_360, 1_046_992_944),
    "openflamingo-3b-vitl-mpt1b-langinstruct": (2_559_117_360, 1_046_992_944),
    "openflamingo-4b-vitl-rpj3b": (4_039_816_224, 1_218_197_536),
    "openflamingo-4b-vitl-rpj3b-langinstruct": (4_039_816_224, 1_218_197_536),
    "openflamingo-9b-vitl-mpt7b": (8_131_465_232, 1_384_781_840),
}
"""Parameters of the model, and of checkpoint.pt (times 4: the size of the published file)."""

WIDTHS = {"mosaic_gpt": (2048, 24), "gpt_neox": (2560, 32), "mpt": (4096, 32)}
"""Width and layers by the language model's type."""


def both(name: str, *shape: int) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def trained(kind: str, every: int) -> Shapes:
    """checkpoint.pt, written down apart from the rules."""
    width, layers = WIDTHS[kind]
    shapes: Shapes = {"perceiver.latents": (64, 1024), **both("perceiver.norm", 1024)}
    for number in range(6):
        at = f"perceiver.layers.{number}"
        shapes |= both(f"{at}.0.norm_media", 1024) | both(f"{at}.0.norm_latents", 1024) | both(f"{at}.1.0", 1024)
        shapes |= {f"{at}.0.to_q.weight": (512, 1024), f"{at}.0.to_kv.weight": (1024, 1024)}
        shapes |= {f"{at}.0.to_out.weight": (1024, 512)}
        shapes |= {f"{at}.1.1.weight": (4096, 1024), f"{at}.1.3.weight": (1024, 4096)}
    home = "lang_encoder.gpt_neox.layers" if kind == "gpt_neox" else "lang_encoder.transformer.blocks"
    for layer in range(every - 1, layers, every):
        at = f"{home}.{layer}.gated_cross_attn_layer"
        shapes |= {f"{at}.attn_gate": (1,), f"{at}.ff_gate": (1,)}
        shapes |= both(f"{at}.attn.norm", width) | both(f"{at}.ff.0", width)
        shapes |= {f"{at}.attn.to_q.weight": (512, width), f"{at}.attn.to_kv.weight": (1024, 1024)}
        shapes |= {f"{at}.attn.to_out.weight": (width, 512)}
        shapes |= {f"{at}.ff.1.weight": (4 * width, width), f"{at}.ff.3.weight": (width, 4 * width)}
    ends = ("gpt_neox.embed_in", "embed_out") if kind == "gpt_neox" else ("transformer.wte",)
    return shapes | {f"lang_encoder.{end}.weight": (50280, width) for end in ends}


def language_model(kind: str) -> Shapes:
    """The language model's own repository."""
    width, layers = WIDTHS[kind]
    if kind == "gpt_neox":
        shapes = {"gpt_neox.embed_in.weight": (50432, width), "embed_out.weight": (50432, width)}
        shapes |= both("gpt_neox.final_layer_norm", width)
        for number in range(layers):
            at = f"gpt_neox.layers.{number}"
            shapes |= both(f"{at}.input_layernorm", width) | both(f"{at}.post_attention_layernorm", width)
            shapes |= both(f"{at}.attention.query_key_value", 3 * width, width)
            shapes |= both(f"{at}.attention.dense", width, width)
            shapes |= both(f"{at}.mlp.dense_h_to_4h", 4 * width, width)
            shapes |= both(f"{at}.mlp.dense_4h_to_h", width, 4 * width)
        return shapes
    norm, up, down, last = {
        "mosaic_gpt": ("ln", "mlp.mlp_up", "mlp.mlp_down", "ln_f"),
        "mpt": ("norm", "ffn.up_proj", "ffn.down_proj", "norm_f"),
    }[kind]
    shapes = {"transformer.wte.weight": (50432, width), f"transformer.{last}.weight": (width,)}
    for number in range(layers):
        at = f"transformer.blocks.{number}"
        shapes |= {f"{at}.{norm}_1.weight": (width,), f"{at}.{norm}_2.weight": (width,)}
        shapes |= {f"{at}.attn.Wqkv.weight": (3 * width, width), f"{at}.attn.out_proj.weight": (width, width)}
        shapes |= {f"{at}.{up}.weight": (4 * width, width), f"{at}.{down}.weight": (width, 4 * width)}
        if kind == "mosaic_gpt":
            shapes |= {f"{at}.attn.q_ln.weight": (width,), f"{at}.attn.k_ln.weight": (width,)}
    return shapes


def clip() -> Shapes:
    """openai/clip-vit-large-patch14, and a little of its text model."""
    shapes: Shapes = {
        "vision_model.embeddings.class_embedding": (1024,),
        "vision_model.embeddings.patch_embedding.weight": (1024, 3, 14, 14),
        "vision_model.embeddings.position_embedding.weight": (257, 1024),
        **both("vision_model.pre_layrnorm", 1024),
        **both("vision_model.post_layernorm", 1024),
        "visual_projection.weight": (768, 1024),
        "text_projection.weight": (768, 768),
        "text_model.final_layer_norm.weight": (768,),
        "logit_scale": (),
    }
    for number in range(24):
        at = f"vision_model.encoder.layers.{number}"
        for part in ("q", "k", "v", "out"):
            shapes |= both(f"{at}.self_attn.{part}_proj", 1024, 1024)
        shapes |= both(f"{at}.mlp.fc1", 4096, 1024) | both(f"{at}.mlp.fc2", 1024, 4096)
        shapes |= both(f"{at}.layer_norm1", 1024) | both(f"{at}.layer_norm2", 1024)
    return shapes


def put(folder: Folder, shapes: Shapes) -> None:
    """Give a listed folder the headers that its files would have."""
    file = folder.path / "file"
    folder.checkpoint = Checkpoint(
        folder.path, (file,), {name: Entry(shape, torch.float32, file) for name, shape in shapes.items()}
    )


def listed(name: str) -> tuple[Any, Size]:
    return next(found for found in families.sizes() if found[1].name == name)


@pytest.mark.parametrize("name", COUNTS)
def test_full_size_has_the_published_parameters(name: str) -> None:
    family, size = listed(name)
    with torch.device("meta"):
        vlm = VLM(family.architecture(Folder.listed(size)))
    assert sum(parameter.numel() for parameter in vlm.parameters()) == size.parameters == COUNTS[name][0]


@pytest.mark.parametrize("name", COUNTS)
def test_full_size_is_filled_by_the_published_names_and_shapes(name: str) -> None:
    """Strictly, both ways; and the model of the shapes is that of the listing."""
    family, size = listed(name)
    folder = Folder.listed(size)
    kind = folder.part("language_model").config["model_type"]
    shapes = trained(kind, folder.config["cross_attn_every_n_layers"])
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == COUNTS[name][1]
    put(folder, shapes)
    put(folder.part("language_model"), language_model(kind))
    put(folder.part("vision"), clip())
    built = family.architecture(folder)
    assert built == family.architecture(Folder.listed(size))
    with torch.device("meta"):
        vlm = VLM(built)
    rules = family.rules(folder, built)
    tensors = family.tensors(folder, rules)
    check(vlm, [(tensors[part], rules[part]) for part in rules])


def test_every_size_names_where_its_language_model_is() -> None:
    hubs = {name: listed(name)[1].part_hubs["language_model"] for name in COUNTS}
    assert len(set(hubs.values())) == len(hubs)
    assert Path(hubs["openflamingo-3b-vitl-mpt1b-langinstruct"]).name == "mpt-1b-redpajama-200b-dolly"


@pytest.mark.parametrize("every", [1, 2, 4])
def test_gated_blocks_stand_before_the_last_layer_of_each_interval(every: int) -> None:
    name = next(name for name in COUNTS if listed(name)[1].config["cross_attn_every_n_layers"] == every)
    built = listed(name)[0].architecture(Folder.listed(listed(name)[1]))
    assert [(layer + 1) % every for layer in built.join.layers] == [0] * (built.decoder.layers // every)
    assert built.join.layers[0] == every - 1
