"""The forms in which the LLaVA line is published: deltas, adapters, a projector alone, shards, any name and order."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import flamingo_lab as fl
from flamingo_lab import checkpoint
from flamingo_lab.errors import BadCheckpoint, BadConfig, BadSetting, MissingModel
from flamingo_lab.merging import Added
from tests.families.goldens import Golden
from tests.families.tiny_llava import ANYRES, Tiny, edit, picture, projector_tensors, save, write
from tests.families.tiny_llava_parts import (
    Parts,
    Tensors,
    assert_same,
    incomplete,
    language_model,
    parameters,
    shards,
    write_adapters,
    write_delta,
)
from tests.folders import GOLDENS


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return write(tmp_path / "whole")


# A delta


@pytest.fixture
def delta(tiny: Tiny, tmp_path: Path) -> Parts:
    return write_delta(tiny, tmp_path)


def test_a_delta_and_its_base_are_the_model(tiny: Tiny, delta: Parts) -> None:
    folder, base, _ = delta
    assert_same(fl.load(folder, base=base, vision=tiny.vision, dtype="float32"), tiny.load())


def test_rotary_buffers_of_either_side_are_passed_over(tiny: Tiny, delta: Parts) -> None:
    for folder, layer in ((delta.folder, 0), (delta.base, 1)):
        held = load_file(folder / "model.safetensors")
        save(folder, held | {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.ones(4)})
    assert_same(fl.load(delta.folder, base=delta.base, vision=tiny.vision, dtype="float32"), tiny.load())


def test_a_delta_alone_says_what_it_lacks(tiny: Tiny, delta: Parts) -> None:
    with pytest.raises(
        BadCheckpoint, match="holds differences to LLaMA, not a whole model; name its base with --base DIR"
    ):
        fl.load(delta.folder, vision=tiny.vision)


def narrower(tensors: Tensors) -> Tensors:
    return tensors | {"model.layers.0.self_attn.k_proj.weight": torch.ones(8, 16)}


def shallower(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if "layers.1" not in name}


def deeper(tensors: Tensors) -> Tensors:
    return tensors | {"model.layers.2.mlp.up_proj.weight": torch.ones(24, 16)}


def wordier(tensors: Tensors) -> Tensors:
    return tensors | {"lm_head.weight": torch.ones(361, 16)}


@pytest.mark.parametrize("change", [narrower, shallower, deeper, wordier])
def test_a_delta_on_another_base_is_refused(change: Callable[[Tensors], Tensors], tiny: Tiny, delta: Parts) -> None:
    folder, base, _ = delta
    save(base, change(load_file(base / "model.safetensors")))
    with pytest.raises(BadCheckpoint, match="is it the right base"):
        fl.load(folder, base=base, vision=tiny.vision)


def test_a_delta_is_added_in_its_own_dtype(tmp_path: Path) -> None:
    """The authors add in float16, so the sum is rounded as theirs is."""
    base, delta = torch.full((2, 3), 1.0, dtype=torch.float16), torch.full((3, 3), 2.0**-12, dtype=torch.float16)
    save(tmp_path / "base", {"w": base})
    save(tmp_path / "delta", {"w": delta})
    sources = [checkpoint.open_folder(tmp_path / name) for name in ("base", "delta")]
    ((name, total),) = Added(*sources, grown=["w"], alone="-").tensors()
    assert (name, total.dtype) == ("w", torch.float16)
    assert total.tolist() == [[1.0] * 3, [1.0] * 3, [2.0**-12] * 3]


GOLDEN = Golden(GOLDENS / "llava_v1")


@pytest.mark.skipif(not GOLDEN.folder.is_dir(), reason=f"no goldens under FLAB_GOLDENS ({GOLDENS})")
@pytest.mark.parametrize("is_near", [True, False], ids=["norms as LLaMA's", "norms at random"])
def test_the_golden_as_a_delta_answers_like_the_golden(is_near: bool, tmp_path: Path) -> None:
    """LLaVA-1 as published: float shards of differences, three tokens and a projector more than its base."""
    source = GOLDEN.folder / GOLDEN.facts["load"]["path"]
    whole = dict(checkpoint.open_folder(source).tensors())
    rows = 372
    base = {
        name: torch.randn_like(tensor[:rows] if tensor.shape[0] == 376 else tensor) for name, tensor in whole.items()
    }
    base = {name: tensor for name, tensor in base.items() if "mm_projector" not in name}
    if is_near:
        base["model.norm.weight"] = whole["model.norm.weight"] - 0.01
    folder = tmp_path / "anything"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.bin*"))
    differences: Tensors = {}
    for name, tensor in whole.items():
        differences[name] = tensor.clone()
        if name in base:
            differences[name][: len(base[name])] -= base[name]
    shards(differences, folder, "bin")
    save(tmp_path / "llama", base)
    vision = GOLDEN.folder / GOLDEN.facts["load"]["vision"]
    found = fl.load(folder, base=tmp_path / "llama", vision=vision, dtype="float32")
    expected = fl.load(source, vision=vision, dtype="float32")
    assert_same(found, expected)
    case = next(iter(GOLDEN.cases.values()))
    answer = found.generate(case.rows[0].prompt, max_new_tokens=case.runs[""]["max_new_tokens"])
    assert list(answer.token_ids) == case.rows[0].expect["generated_ids"]


# Adapters


@pytest.fixture
def lora(tiny: Tiny, tmp_path: Path) -> Parts:
    return write_adapters(tiny, tmp_path)


def as_safetensors(folder: Path) -> None:
    save_file(torch.load(folder / "adapter_model.bin"), folder / "adapter_model.safetensors")
    (folder / "adapter_model.bin").unlink()


def as_they_are(folder: Path) -> None:
    """Adapters in `adapter_model.bin`."""


def one_level_higher(folder: Path) -> None:
    """Names that have nothing to lose besides "base_model."."""
    rest = torch.load(folder / "non_lora_trainables.bin")
    higher = {name.replace("base_model.model.model.", "base_model.model."): tensor for name, tensor in rest.items()}
    torch.save(higher, folder / "non_lora_trainables.bin")


@pytest.mark.parametrize("form", [as_they_are, as_safetensors, one_level_higher])
def test_adapters_are_merged_into_their_base(form: Callable[[Path], None], tiny: Tiny, lora: Parts) -> None:
    folder, base, merged = lora
    form(folder)
    found = fl.load(folder, base=base, vision=tiny.vision, dtype="float32")
    save(tiny.path, load_file(tiny.path / "model.safetensors") | merged)
    assert_same(found, tiny.load())


def test_adapters_without_their_base_say_where_it_was_looked_for(tiny: Tiny, lora: Parts) -> None:
    with pytest.raises(MissingModel, match=r"hub cache for nobody/no-such-vicuna: point to it with --base DIR"):
        fl.load(lora.folder, vision=tiny.vision)
    edit(lora.folder / "adapter_config.json", base_model_name_or_path="/home/me/checkpoints/vicuna")
    with pytest.raises(BadCheckpoint, match="--base DIR"):
        fl.load(lora.folder, vision=tiny.vision)


@pytest.mark.parametrize("change", [narrower, shallower])
def test_adapters_on_another_base_are_refused(change: Callable[[Tensors], Tensors], tiny: Tiny, lora: Parts) -> None:
    folder, base, _ = lora
    held = load_file(base / "model.safetensors")
    wide = {name: torch.ones(20, 20) for name in held if "q_proj" in name} if change is narrower else {}
    save(base, change(held) | wide)
    with pytest.raises(BadCheckpoint, match="is it the right base"):
        fl.load(folder, base=base, vision=tiny.vision)


def test_half_an_adapter_is_refused(tiny: Tiny, lora: Parts) -> None:
    folder, base, _ = lora
    adapters = torch.load(folder / "adapter_model.bin")
    lost = adapters.popitem()[0]
    torch.save(adapters, folder / "adapter_model.bin")
    with pytest.raises(BadCheckpoint, match=rf"adapter_model\.bin: {lost} is missing"):
        fl.load(folder, base=base, vision=tiny.vision)


@pytest.mark.parametrize("name", ["adapter_model.bin", "non_lora_trainables.bin"])
def test_a_file_of_the_adapters_that_is_missing_is_named(name: str, tiny: Tiny, lora: Parts) -> None:
    folder, base, _ = lora
    (folder / name).unlink()
    with pytest.raises(BadCheckpoint, match=f"{name}: missing"):
        fl.load(folder, base=base, vision=tiny.vision)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"r": None}, "'r' is missing"),
        ({"use_rslora": True}, "use_rslora True is not known"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out True is not known"),
        ({"rank_pattern": {"q_proj": 4}}, "rank_pattern .* is not known"),
    ],
)
def test_settings_of_adapters_that_cannot_be_followed(
    settings: dict[str, Any], message: str, tiny: Tiny, lora: Parts
) -> None:
    folder, base, _ = lora
    edit(folder / "adapter_config.json", **settings)
    with pytest.raises(BadConfig, match=message):
        fl.load(folder, base=base, vision=tiny.vision)


# A projector alone


def test_a_projector_and_its_base_are_the_model(tiny: Tiny, tmp_path: Path) -> None:
    folder = incomplete(tiny, tmp_path / "projector", _name_or_path="nobody/no-such-vicuna")
    torch.save(projector_tensors(tiny, "mlp2x_gelu"), folder / "mm_projector.bin")
    base = language_model(tiny, tmp_path / "vicuna")
    assert_same(fl.load(folder, base=base, vision=tiny.vision, dtype="float32"), tiny.load())
    with pytest.raises(MissingModel, match=r"nobody/no-such-vicuna: point to it with --base DIR"):
        fl.load(folder, vision=tiny.vision)
    edit(folder / "config.json", _name_or_path=None)
    with pytest.raises(BadCheckpoint, match="--base DIR"):
        fl.load(folder, vision=tiny.vision)


def test_a_projector_beside_whole_weights_changes_nothing(tiny: Tiny) -> None:
    """LLaVA-1.5 publishes its projector twice."""
    expected = tiny.load()
    torch.save(projector_tensors(tiny, "mlp2x_gelu"), tiny.path / "mm_projector.bin")
    assert_same(tiny.load(), expected)


def test_a_whole_model_takes_no_base(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match=r"--base DIR: .* holds a whole model near that base; leave it away"):
        tiny.load(base=language_model(tiny, tmp_path / "vicuna"))


# What a name or an order may not change


@pytest.mark.parametrize("name", ["llava-v1.6-mistral-34b-lora", "mpt-7b", "x"])
def test_a_folder_by_another_name_is_the_same_model(name: str, tiny: Tiny) -> None:
    expected = tiny.load()
    renamed = tiny.path.rename(tiny.path.parent / name)
    assert_same(fl.load(renamed, vision=tiny.vision, dtype="float32"), expected)


@pytest.mark.parametrize("form", ["safetensors", "bin"])
def test_shards_in_any_order_are_the_same_model(form: str, tiny: Tiny) -> None:
    expected = tiny.load()
    file = tiny.path / "model.safetensors"
    shards(load_file(file), tiny.path, form)
    file.unlink()
    assert_same(tiny.load(), expected, atol=0)


def test_canvases_may_be_text(tmp_path: Path) -> None:
    tiny = write(tmp_path, ANYRES)
    expected = tiny.load()
    edit(tiny.path / "config.json", image_grid_pinpoints="[(12, 24), (24, 12), (24, 24), (36, 12), (12, 36)]")
    assert_same(tiny.load(), expected)


def test_rows_for_tokens_that_no_file_names_are_those_of_the_loader(tmp_path: Path) -> None:
    """Three rows more and no added_tokens.json: the loader adds the tokens in its own order. Rows beyond them are left."""
    config = {"mm_projector_type": "linear", "mm_use_im_start_end": True}
    for rows in (363, 364, 384):
        tiny = write(tmp_path / str(rows), config, vocab=rows)
        edit(tiny.path / "config.json", mm_use_im_patch_token=None)  # absent means that there is one
        model = tiny.load()
        assert [model.tokenizer.id_of(f"<im_{name}>") for name in ("patch", "start", "end")] == [360, 361, 362]
        embedding = tiny.decoder.get_input_embeddings().weight
        torch.testing.assert_close(parameters(model)["decoder.embedding.weight"], embedding[:363].detach())
        ids = model.renderer.render(fl.Prompt.ask(picture(0), "what?")).ids
        place = ids.index(-200)
        assert (ids[place - 1], ids[place + 1]) == (361, 362)
    few = write(tmp_path / "few", config, vocab=361)
    edit(few.path / "config.json", mm_use_im_patch_token=None)
    with pytest.raises(BadCheckpoint, match=r"weight has shape \[361, 16\]; config\.json asks for \[363, 16\]"):
        few.load()


def test_configurations_without_the_layer_are_of_the_first_code_which_read_the_last(tiny: Tiny) -> None:
    edit(tiny.path / "config.json", mm_vision_select_layer=None)
    assert tiny.load().vlm.architecture.tower.reads_layer == -1
