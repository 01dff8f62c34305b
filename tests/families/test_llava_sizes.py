"""The listed sizes of the LLaVA line on the meta device: parameter counts, and every tensor's name and shape, file by file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flamingo_lab import families
from flamingo_lab.family import MAIN, Folder
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import published_name
from tests.families.test_idefics_sizes import Shapes, both, layer

COUNTS = {
    "llava-7b-delta-v0": 7_045_818_368,
    "llava-13b-delta-v0": 13_324_322_816,
    "llava-13b-delta-v0-science_qa": 13_324_322_816,
    "llava-13b-delta-v1-1": 13_324_322_816,
    "llava-lightning-7b-delta-v1-1": 7_045_818_368,
    "llava-v1.5-7b": 7_062_902_784,
    "llava-v1.5-13b": 13_350_839_296,
    "llava-v1.5-7b-lora": 7_062_902_784,
    "llava-v1.5-13b-lora": 13_350_839_296,
    "llava-v1.6-vicuna-7b": 7_062_906_880,
    "llava-v1.6-vicuna-13b": 13_350_844_416,
    "llava-v1.6-mistral-7b": 7_566_223_360,
    "llava-v1.6-34b": 34_751_166_464,
    "bakllava-1": 7_566_219_264,
    "llava-1.5-7b-hf": 7_063_427_072,
    "llava-1.5-13b-hf": 13_351_494_656,
}
"""Parameters: sums of the parts that the fact sheets give, counted on the authors' own classes."""

LLAMA_7B, LLAMA_13B = (4096, 11008, 32, 4096), (5120, 13824, 40, 5120)
MISTRAL_7B, YI_34B = (4096, 14336, 32, 1024), (7168, 20480, 60, 1024)
"""Width, width of the feed-forward branch, layers, width of all keys."""


def decoder(vocab: int, width: int, inner: int, layers: int, keys: int, model: str = "model", head: str = "") -> Shapes:
    """LLaMA's kind; keys and values are narrower than queries where heads share them."""
    ends = {f"{model}.embed_tokens.weight": (vocab, width), f"{head}lm_head.weight": (vocab, width)}
    shapes: Shapes = {**ends, f"{model}.norm.weight": (width,)}
    for number in range(layers):
        at = f"{model}.layers.{number}"
        grouped = {f"{at}.self_attn.{part}_proj.weight": (keys, width) for part in "kv"}
        shapes |= layer(at, width, inner) | grouped
    return shapes


def tower(positions: int, prefix: str = "vision_model") -> Shapes:
    """CLIP-L/14, all 24 layers, though the last one and the norm behind it are never read."""
    shapes: Shapes = {
        f"{prefix}.embeddings.class_embedding": (1024,),
        f"{prefix}.embeddings.patch_embedding.weight": (1024, 3, 14, 14),
        f"{prefix}.embeddings.position_embedding.weight": (positions, 1024),
        **both(f"{prefix}.pre_layrnorm", 1024),
        **both(f"{prefix}.post_layernorm", 1024),
    }
    for number in range(24):
        at = f"{prefix}.encoder.layers.{number}"
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= {f"{at}.self_attn.{part}.weight": (1024, 1024), f"{at}.self_attn.{part}.bias": (1024,)}
        shapes |= {f"{at}.mlp.fc1.weight": (4096, 1024), f"{at}.mlp.fc1.bias": (4096,)}
        shapes |= {f"{at}.mlp.fc2.weight": (1024, 4096), f"{at}.mlp.fc2.bias": (1024,)}
        shapes |= both(f"{at}.layer_norm1", 1024) | both(f"{at}.layer_norm2", 1024)
    return shapes


def linear(name: str, width: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (width, inputs), f"{name}.bias": (width,)}


def mlp(width: int, inner: str = "model.mm_projector.0", outer: str = "model.mm_projector.2") -> Shapes:
    return linear(inner, width, 1024) | linear(outer, width, width)


def llava_1(width: int, *more: int) -> dict[str, Shapes]:
    """LLaVA-1 after its delta: three more tokens, a linear projector, the smaller tower beside it."""
    return {MAIN: decoder(32003, width, *more) | linear("model.mm_projector", width, 1024), "vision": tower(257)}


def llava_15(width: int, *more: int) -> dict[str, Shapes]:
    """LLaVA-1.5 and BakLLaVA-1: the larger tower beside it."""
    return {MAIN: decoder(32000, width, *more) | mlp(width), "vision": tower(577)}


def llava_16(width: int, *more: int, vocab: int = 32000) -> dict[str, Shapes]:
    """LLaVA-1.6: its own tower inside, and the token that ends a row of tiles."""
    inside = tower(577, "model.vision_tower.vision_tower.vision_model") | {"model.image_newline": (width,)}
    return {MAIN: decoder(vocab, width, *more) | mlp(width) | inside}


def converted(width: int, *more: int) -> dict[str, Shapes]:
    """LLaVA-1.5 for transformers: one folder, the vocabulary padded to a multiple of 64."""
    text = decoder(32064, width, *more, model="language_model.model", head="language_model.")
    connector = mlp(width, "multi_modal_projector.linear_1", "multi_modal_projector.linear_2")
    return {MAIN: text | connector | tower(577, "vision_tower.vision_model")}


PUBLISHED = {
    "llava-7b-delta-v0": llava_1(*LLAMA_7B),
    "llava-13b-delta-v0": llava_1(*LLAMA_13B),
    "llava-13b-delta-v0-science_qa": llava_1(*LLAMA_13B),
    "llava-13b-delta-v1-1": llava_1(*LLAMA_13B),
    "llava-lightning-7b-delta-v1-1": llava_1(*LLAMA_7B),
    "llava-v1.5-7b": llava_15(*LLAMA_7B),
    "llava-v1.5-13b": llava_15(*LLAMA_13B),
    "llava-v1.5-7b-lora": llava_15(*LLAMA_7B),
    "llava-v1.5-13b-lora": llava_15(*LLAMA_13B),
    "llava-v1.6-vicuna-7b": llava_16(*LLAMA_7B),
    "llava-v1.6-vicuna-13b": llava_16(*LLAMA_13B),
    "llava-v1.6-mistral-7b": llava_16(*MISTRAL_7B),
    "llava-v1.6-34b": llava_16(*YI_34B, vocab=64000),
    "bakllava-1": llava_15(*MISTRAL_7B),
    "llava-1.5-7b-hf": converted(*LLAMA_7B),
    "llava-1.5-13b-hf": converted(*LLAMA_13B),
}
"""Names and shapes by part, written down apart from the rules; those of an adapter are its base's and its own together."""


def test_every_listed_size_is_written_down() -> None:
    listed = {size.name for family, size in families.sizes() if family.name in ("llava", "llava_hf")}
    assert listed == COUNTS.keys() == PUBLISHED.keys()


@pytest.mark.parametrize("name", COUNTS)
def test_full_size_has_the_published_parameters_and_names(name: str) -> None:
    family, size = next(found for found in families.sizes() if found[1].name == name)
    folder = Folder.listed(size)
    built = family.architecture(folder)
    with torch.device("meta"):
        vlm = VLM(built)
    rules = family.rules(folder, built)
    found: dict[str, Shapes] = {part: {} for part in rules}
    for ours, parameter in vlm.named_parameters():
        part = next(part for part, of_part in rules.items() if of_part.published(ours))
        found[part][published_name([rules[part]], ours)] = tuple(parameter.shape)
    assert sum(parameter.numel() for parameter in vlm.parameters()) == COUNTS[name] == size.parameters
    assert found == PUBLISHED[name]
    assert all(rules[part].ours(theirs) for part, names in found.items() for theirs in names)


def test_a_listed_size_is_not_read_from_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    family, size = next(found for found in families.sizes() if found[1].name == "llava-v1.5-7b")
    (tmp_path / size.name).mkdir()
    monkeypatch.chdir(tmp_path)
    assert family.architecture(Folder.listed(size)).decoder.vocab == 32000


@pytest.mark.parametrize("name", ["llava-v1.5-7b", "llava-1.5-7b-hf", "llava-v1.6-vicuna-7b", "bakllava-1"])
def test_what_published_files_hold_besides_is_known(name: str) -> None:
    """Rotary buffers and position ids of 2023; the rest of CLIP's repository; BakLLaVA's copy of its frozen tower."""
    family, size = next(found for found in families.sizes() if found[1].name == name)
    folder = Folder.listed(size)
    rules = family.rules(folder, family.architecture(folder))
    assert rules[MAIN].is_surplus("model.layers.0.self_attn.rotary_emb.inv_freq")
    inner = "model.vision_tower.vision_tower.vision_model"
    if "vision" in rules:
        beside = (
            "logit_scale",
            "text_projection.weight",
            "visual_projection.weight",
            "text_model.final_layer_norm.bias",
        )
        assert all(rules["vision"].is_surplus(other) for other in beside)
        assert rules["vision"].is_surplus("vision_model.embeddings.position_ids")
        assert all(rules[MAIN].is_surplus(copy) for copy in tower(577, inner))
    else:
        at = inner if name.startswith("llava-v1.6") else "vision_tower.vision_model"
        assert rules[MAIN].is_surplus(f"{at}.embeddings.position_ids")
        assert not any(rules[MAIN].is_surplus(own) for own in tower(577, at))
