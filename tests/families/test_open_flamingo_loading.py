"""Every published form of the same weights is the same model; what the loader is told, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import flamingo_lab as fl
from flamingo_lab.engine import reference
from flamingo_lab.engine.plan import job
from flamingo_lab.errors import BadCheckpoint, BadConfig, BadSetting, MissingModel
from tests.families.test_idefics_against_transformers import parts
from tests.families.tiny_idefics import write_checkpoint as write_idefics
from tests.families.tiny_open_flamingo import LAYERS, VOCAB, Written, write_checkpoint

KINDS = sorted(LAYERS)


@pytest.fixture(scope="module", params=KINDS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_checkpoint(tmp_path_factory.mktemp(request.param), request.param, seed=7)


@pytest.fixture(scope="module")
def mpt(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_checkpoint(tmp_path_factory.mktemp("mpt"), "mpt", seed=7)


def settings_of(written: Written, **changed: Any) -> None:
    file = written.folder / "language_model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changed))


def logits(loaded: fl.LoadedModel) -> torch.Tensor:
    ready = job(loaded, fl.Request("x", fl.Prompt.raw(*parts("titit", 5))))
    return reference.logits(loaded, ready.sequence, reference.picture_tokens(loaded, ready))


def same(first: fl.LoadedModel, second: fl.LoadedModel) -> bool:
    return bool(torch.allclose(logits(first), logits(second), atol=1e-5))


# The same weights in every published form


@pytest.mark.parametrize("wraps", [True, False])
def test_a_trainers_file_loads_alike(written: Written, wraps: bool, tmp_path: Path) -> None:
    other = written.copied(tmp_path / "other")
    held: Any = {f"module.{name}": tensor for name, tensor in other.held.items()}
    state = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    other.save({"epoch": 2, "model_state_dict": held, "optimizer_state_dict": state} if wraps else held)
    assert same(other.load(), written.load())


def test_buffers_of_2023_files_are_passed_over(tmp_path: Path) -> None:
    written = write_checkpoint(tmp_path / "plain", "gpt_neox", seed=7)
    other = written.copied(tmp_path / "other")
    buffers: dict[str, torch.Tensor] = {}
    for layer in range(4):
        at = f"gpt_neox.layers.{layer}"
        for home in ("attention", "decoder_layer.attention"):
            buffers[f"{at}.{home}.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.bool)
            buffers[f"{at}.{home}.masked_bias"] = torch.tensor(-1e9)
            buffers[f"{at}.{home}.rotary_emb.inv_freq"] = torch.ones(4)
    in_checkpoint = {f"lang_encoder.{name}": tensor for name, tensor in buffers.items() if "decoder_layer" in name}
    other.save(other.held | in_checkpoint)
    file = other.folder / "language_model" / "pytorch_model.bin"
    own = {name: tensor for name, tensor in buffers.items() if "decoder_layer" not in name}
    torch.save(torch.load(file) | own, file)
    assert same(other.load(), written.load())


def test_an_early_revisions_language_model_goes_before_the_folders_own(written: Written, tmp_path: Path) -> None:
    """The norm behind the last layer is not in it; the folder's is read."""
    other = written.copied(tmp_path / "other")
    file = other.folder / "language_model" / "pytorch_model.bin"
    own = torch.load(file)
    home = LAYERS[other.kind]
    layers = {name: tensor for name, tensor in own.items() if name.startswith(f"{home}.")}
    inside = {
        "lang_encoder.{}.{}.decoder_layer.{}".format(home, *name.removeprefix(f"{home}.").split(".", 1)): tensor
        for name, tensor in layers.items()
    }
    other.save(other.held | inside)
    torch.save(own | {name: torch.randn_like(tensor) for name, tensor in layers.items()}, file)
    assert same(other.load(), written.load())


def test_the_folders_embeddings_are_those_of_an_untrained_vocabulary(written: Written, tmp_path: Path) -> None:
    """Where the checkpoint holds none, the rows beyond the tokenizer's are cut from the language model's."""
    other = written.copied(tmp_path / "other")
    ends = {name: tensor for name, tensor in other.held.items() if tensor.shape[0] == VOCAB}
    other.save({name: tensor for name, tensor in other.held.items() if name not in ends})
    file = other.folder / "language_model" / "pytorch_model.bin"
    own = torch.load(file)
    for name, tensor in ends.items():
        own[name.removeprefix("lang_encoder.")] = torch.cat((tensor, torch.randn(20, tensor.shape[1])))
    torch.save(own, file)
    assert same(other.load(), written.load())


def test_both_layouts_of_clip_are_the_same_tower(mpt: Written) -> None:
    assert same(mpt.load("vision"), mpt.load("vision_open_clip"))


def test_a_repository_with_both_layouts_is_read_in_one(mpt: Written, tmp_path: Path) -> None:
    other = mpt.copied(tmp_path / "other")
    for file in (other.folder / "vision").iterdir():
        shutil.copy(file, other.folder / "vision_open_clip" / file.name)
    assert same(other.load("vision_open_clip"), mpt.load())


def test_a_vision_model_without_the_projection_is_enough(mpt: Written, tmp_path: Path) -> None:
    other = mpt.copied(tmp_path / "other")
    config, file = (other.folder / "vision" / name for name in ("config.json", "pytorch_model.bin"))
    held = torch.load(file)
    torch.save({name: tensor for name, tensor in held.items() if name.startswith("vision_model.")}, file)
    settings = json.loads(config.read_text())
    config.write_text(json.dumps(settings["vision_config"] | {"projection_dim": 10}))
    assert same(other.load(), mpt.load())


def test_openais_activation_is_assumed_where_open_clip_is_silent(mpt: Written, tmp_path: Path) -> None:
    other = mpt.copied(tmp_path / "other")
    file = other.folder / "vision_open_clip" / "open_clip_config.json"
    described = json.loads(file.read_text())
    del described["model_cfg"]["quick_gelu"]
    file.write_text(json.dumps(described))
    assert other.load("vision_open_clip").vlm.architecture.tower.activation == "quick_gelu"


def test_a_tokenizer_that_knows_padding_gets_no_token_for_it(mpt: Written, tmp_path: Path) -> None:
    other = mpt.copied(tmp_path / "other")
    settings = {"pad_token": "<|padding|>"}
    (other.folder / "language_model" / "special_tokens_map.json").write_text(json.dumps(settings))
    with pytest.raises(
        BadCheckpoint, match=rf"wte.weight has shape \[{VOCAB}, 16\]; config.json asks for \[{VOCAB - 1}"
    ):
        other.load()
    table = other.held["lang_encoder.transformer.wte.weight"][: VOCAB - 1]
    other.save(other.held | {"lang_encoder.transformer.wte.weight": table.clone()})
    assert other.load().tokenizer.id_of("<PAD>") is None


# What is told of a folder, and what is refused


def test_the_interval_is_read_and_may_be_said_again(mpt: Written) -> None:
    assert mpt.load().vlm.architecture == mpt.load(cross_attn_every_n_layers=2).vlm.architecture
    with pytest.raises(BadSetting, match=r"cross_attn_every_n_layers is 4, but .* every 2 layers"):
        mpt.load(cross_attn_every_n_layers=4)


def test_the_interval_is_no_option_of_other_families(tmp_path: Path) -> None:
    write_idefics(tmp_path, {}, seed=1)
    with pytest.raises(BadSetting, match=r"cross_attn_every_n_layers: .* idefics family has no such option"):
        fl.load(tmp_path, cross_attn_every_n_layers=2)


def test_a_missing_language_model_is_asked_for(mpt: Written) -> None:
    with pytest.raises(BadCheckpoint, match=r"its language model is in another folder.*--language-model DIR"):
        fl.load(mpt.folder / "checkpoint", vision=mpt.folder / "vision")


def test_parts_of_a_listed_model_are_looked_for_where_they_are_published(
    mpt: Written, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    name = "openflamingo-3b-vitl-mpt1b-langinstruct"
    with pytest.raises(MissingModel, match="hf download openflamingo/OpenFlamingo-3B-vitl-mpt1b-langinstruct"):
        fl.load(name)
    shutil.copytree(mpt.folder / "checkpoint", tmp_path / name)
    with pytest.raises(MissingModel, match=r"its vision is in another repository.*openai/clip-vit-large-patch14"):
        fl.load(name)
    with pytest.raises(MissingModel, match=r"its language model .* anas-awadalla/mpt-1b-redpajama-200b-dolly"):
        fl.load(name, vision=mpt.folder / "vision")
    found = fl.load(name, vision=mpt.folder / "vision", language_model=mpt.folder / "language_model")
    assert found.name == name


def test_another_kind_of_language_model_is_refused(mpt: Written, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path, "gpt_neox", seed=1)
    with pytest.raises(
        BadCheckpoint, match=r"no gated block before a layer of gpt_neox.layers; another language model"
    ):
        mpt.load(language_model=other.folder / "language_model")


def test_a_language_model_of_another_size_is_refused(mpt: Written, tmp_path: Path) -> None:
    other = mpt.copied(tmp_path / "other")
    settings_of(other, d_model=24)
    with pytest.raises(BadCheckpoint, match=r"shape \[.*config.json asks for"):
        other.load()


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        ("mpt", {"model_type": "llama"}, "model_type 'llama' is none of mosaic_gpt, mpt, gpt_neox"),
        ("mpt", {"no_bias": False}, "no_bias is False; only True is known"),
        ("mpt", {"attn_config": {"alibi": False}}, "alibi is False; only True is known"),
        ("mpt", {"attn_config": {}}, "'alibi' is missing"),
        ("mpt", {"norm_type": "rmsnorm"}, "norm_type is 'rmsnorm'; only 'low_precision_layernorm' is known"),
        ("mosaic_gpt", {"softmax_scale": 1.0}, "softmax_scale is 1.0; only None is known"),
        ("gpt_neox", {"attention_bias": False}, "attention_bias is False; only True is known"),
        ("gpt_neox", {"rope_scaling": {"type": "yarn"}}, "rotary positions by 'yarn' is not known"),
        ("gpt_neox", {"hidden_act": "swiglu"}, "activation 'swiglu' is none of"),
    ],
)
def test_a_language_model_that_the_core_cannot_build_is_one_line(
    kind: str, changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    written = write_checkpoint(tmp_path, kind, seed=1)
    settings_of(written, **changed)
    with pytest.raises(BadConfig, match=message):
        written.load()


def test_a_vision_folder_without_a_description_is_refused(mpt: Written, tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"neither open_clip_config.json nor config.json in it"):
        mpt.load(vision=tmp_path)


def test_an_open_clip_description_needs_its_weights(mpt: Written, tmp_path: Path) -> None:
    shutil.copy(mpt.folder / "vision_open_clip" / "open_clip_config.json", tmp_path)
    with pytest.raises(BadCheckpoint, match=r"open_clip_config.json without its weights"):
        mpt.load(vision=tmp_path)


def test_an_unknown_tensor_in_the_checkpoint_is_refused(mpt: Written, tmp_path: Path) -> None:
    other = mpt.copied(tmp_path / "other")
    other.save(other.held | {"perceiver.frame_embs": torch.ones(4, 12)})
    with pytest.raises(BadCheckpoint, match=r"unknown tensor perceiver.frame_embs"):
        other.load()


def test_a_block_that_is_missing_is_named(mpt: Written, tmp_path: Path) -> None:
    other = mpt.copied(tmp_path / "other")
    other.save({name: tensor for name, tensor in other.held.items() if ".3.gated" not in name})
    with pytest.raises(BadCheckpoint, match=r"blocks.3.gated_cross_attn_layer.* is missing"):
        other.load()


def test_checkpoints_of_something_else_belong_to_no_family(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "checkpoint.pt")
    with pytest.raises(BadConfig, match=r"a folder without config.json belongs to none of the families"):
        fl.load(tmp_path)
