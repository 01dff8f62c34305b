"""What a user of the LLaVA line can get wrong: a tower that is elsewhere, settings, other weights, prompts too long."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import flamingo_lab as fl
from flamingo_lab.cli import run
from flamingo_lab.engine import reference
from flamingo_lab.engine.plan import job
from flamingo_lab.errors import BadCheckpoint, BadConfig, BadPrompt, MissingModel
from flamingo_lab.notes import forget
from tests.families.tiny_idefics import write_checkpoint
from tests.families.tiny_llava import ANYRES, TOWER, Tiny, edit, picture, write, write_converted
from tests.families.tiny_llava_parts import write_adapters, write_delta


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    return write(tmp_path / "whole")


# The tower


def test_a_tower_that_is_not_here_says_where_it_was_looked_for(tiny: Tiny) -> None:
    edit(tiny.path / "config.json", mm_vision_tower="nobody/no-such-clip")
    with pytest.raises(MissingModel, match=r"hub cache for nobody/no-such-clip: point to it with --vision DIR"):
        fl.load(tiny.path)
    edit(tiny.path / "config.json", mm_vision_tower="/home/me/clip-vit-large-patch14-336")
    with pytest.raises(BadCheckpoint, match="--vision DIR"):
        fl.load(tiny.path)


def test_a_tuned_tower_inside_wins_and_a_frozen_copy_does_not(tmp_path: Path) -> None:
    tuned = write(tmp_path / "tuned", ANYRES)
    inner = tuned.tower.state_dict()["embeddings.class_embedding"]
    torch.testing.assert_close(tuned.load().vlm.tower.class_token, inner)
    edit(tuned.path / "config.json", unfreeze_mm_vision_tower=False)
    torch.testing.assert_close(tuned.load().vlm.tower.class_token, inner + 1)


def test_a_frozen_copy_serves_where_the_towers_folder_has_no_weights(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As in BakLLaVA-1; what the tower is, its own folder says in any case."""
    forget()
    held = write(tmp_path / "frozen", ANYRES)
    inner = held.tower.state_dict()["embeddings.class_embedding"]
    edit(held.path / "config.json", unfreeze_mm_vision_tower=False)
    (held.vision / "model.safetensors").unlink()
    torch.testing.assert_close(held.load().vlm.tower.class_token, inner)
    assert [line for line in caplog.messages if f"{held.vision} holds no weights" in line]


def test_a_folder_without_a_tower_is_no_tower(tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadConfig, match=r"empty/config\.json: missing or empty; it says what the tower is"):
        fl.load(tiny.path, vision=tmp_path / "empty")
    other = write(tmp_path / "other", tower={"hidden_size": 16})
    with pytest.raises(
        BadConfig, match=r"a tower of width 16, where .* asks for 12; is it openai/clip-vit-large-patch14-336"
    ):
        fl.load(tiny.path, vision=other.vision)
    other = write(tmp_path / "larger", tower={"image_size": 18})
    edit(other.vision / "preprocessor_config.json", crop_size=24)
    with pytest.raises(BadConfig, match="crop_size 24, but the tower takes 18"):
        fl.load(tiny.path, vision=other.vision)


# A configuration that cannot be followed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mm_projector_type": "qformer"}, "'qformer' is none of linear"),
        ({"mm_projector_type": "mlp3x_gelu"}, "mm_projector.4"),
        ({"mm_vision_select_feature": "all"}, "mm_vision_select_feature: 'all' is missing or not a known value"),
        ({"mm_vision_select_layer": 7}, "layer 7 is no layer of a tower with 2"),
        ({"hidden_act": "swiglu"}, "activation 'swiglu' is none of"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2}}, "rotary positions by 'dynamic' is not known"),
        ({"rope_scaling": {"rope_type": "linear"}}, "'factor' is missing"),
        ({"rope_scaling": 2.0}, "2.0 does not describe rotary positions"),
        ({"head_dim": 7}, "head_dim is 7; only 8 is known"),
        ({"mm_projector_type": "identity"}, "the projector is identity, but 12 channels are not 16"),
        ({"hidden_size": None}, "'hidden_size' is missing"),
        ({"image_aspect_ratio": "anyres"}, "image_grid_pinpoints None is no list"),
        (ANYRES | {"image_grid_pinpoints": "[(12, 24"}, "image_grid_pinpoints .* is no list"),
        (ANYRES | {"image_grid_pinpoints": [[12, 30]]}, "in tiles of 12 pixels"),
        (ANYRES | {"mm_patch_merge_type": "maxpool2x2"}, "mm_patch_merge_type 'maxpool2x2' is none of"),
        (ANYRES, "image_newline"),
    ],
)
def test_a_configuration_that_cannot_be_followed(changes: dict[str, Any], message: str, tiny: Tiny) -> None:
    edit(tiny.path / "config.json", **changes)
    with pytest.raises(BadCheckpoint, match=message):
        tiny.load()


CONVERTED = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "rope_theta": 10_000.0,
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_feature_select_strategy": "some"}, "vision_feature_select_strategy 'some' is none of"),
        ({"vision_feature_layer": [-2, -1]}, r"layer \[-2, -1\] is no layer"),
        ({"vision_config": None}, "'vision_config' is missing"),
        ({"projector_hidden_act": "swiglu"}, "activation 'swiglu' is none of"),
        ({"multimodal_projector_bias": False}, "multimodal_projector_bias is False; only True is known"),
        ({"text_config": CONVERTED | {"model_type": "gemma", "vocab_size": 400}}, "model_type 'gemma' is none of"),
    ],
)
def test_a_converted_configuration_that_cannot_be_followed(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_converted(tmp_path, CONVERTED, TOWER, seed=0)
    edit(tmp_path / "config.json", **changes)
    with pytest.raises(BadCheckpoint, match=message):
        fl.load(tmp_path)


def test_a_converted_mistral_has_the_window_that_its_class_assumes(tmp_path: Path) -> None:
    write_converted(tmp_path, CONVERTED, TOWER, seed=0)
    config = json.loads((tmp_path / "config.json").read_text())
    edit(tmp_path / "config.json", text_config=config["text_config"] | {"model_type": "mistral"})
    assert fl.load(tmp_path).vlm.architecture.decoder.window == 4096


# Prompts that are too long


@pytest.fixture
def short(tmp_path: Path) -> fl.LoadedModel:
    return write(tmp_path, ANYRES | {"tokenizer_model_max_length": 20}).load()


def test_a_prompt_beyond_the_authors_limit_is_an_error_with_both_numbers(short: fl.LoadedModel) -> None:
    prompt = fl.Prompt.raw(picture(0, (24, 24)), "what is it?")
    length = len(short.renderer.render(prompt).expanded().ids)
    assert length > 20
    for decoding in (fl.Greedy(), fl.Rank((" red", " blue car"))):
        (answer,) = short.answers([fl.Request("0", prompt, decoding)])
        assert answer.error is not None and answer.error.kind == BadPrompt.__name__
        assert f"takes {length} positions; the authors cut its end off at 20" in answer.error.message
        length = len(short.renderer.render(prompt, " blue car").expanded().ids)  # of the longest option
    (within,) = short.answers([fl.Request("0", fl.Prompt.raw("what is it?"))])
    assert within.error is None


def test_a_prompt_may_be_cut_where_the_authors_cut_it(short: fl.LoadedModel) -> None:
    """In a picture's tokens, too, and in company of whole prompts."""
    long = fl.Prompt.raw("what", picture(0, (24, 24)), "is it?")
    requests = [
        fl.Request("cut", long, max_new_tokens=3, is_cut=True),
        fl.Request("whole", fl.Prompt.raw("what"), max_new_tokens=3),
    ]
    together = {answer.id: answer for answer in short.answers(requests)}
    assert together["cut"].prompt_tokens == 20 and together["cut"].error is None
    (fill,) = job(short, requests[0]).sequence.fills
    assert fill.position + fill.tokens == 20 < fill.position + short.vlm.architecture.tokens_of((24, 24))
    for request in requests:
        assert reference.answer(short, request).token_ids == together[request.id].token_ids


# On the command line


Fails = Callable[..., str]


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fails:
    """Evaluates a folder, which has to fail as a user's mistake; gives its one line."""
    monkeypatch.chdir(tmp_path)

    def check(folder: Path, *options: str | Path) -> str:
        capsys.readouterr()
        command = ["eval", "--tasks", "shapes-binding", "--limit", "1", "--model", folder, *options]
        assert run([str(word) for word in command]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("error: ") and "Traceback" not in err
        assert len(err.strip().splitlines()) == 1, err
        return err

    return check


def test_mistakes_are_one_line(fails: Fails, tiny: Tiny, tmp_path: Path) -> None:
    lora, delta = write_adapters(tiny, tmp_path), write_delta(tiny, tmp_path)
    edit(tiny.path / "config.json", mm_vision_tower="nobody/no-such-clip")
    assert "--vision DIR" in fails(tiny.path)
    vision = ("--vision", tiny.vision)
    assert "no-such-vicuna: point to it with --base DIR" in fails(lora.folder, *vision)
    assert "name its base with --base DIR" in fails(delta.folder, *vision)
    assert "leave it away" in fails(tiny.path, *vision, "--base", delta.base)
    assert "no such folder" in fails(tiny.path, "--vision", "nowhere")
    assert "belongs to none of the families" in fails(lora.base)  # the base itself
    (tiny.path / "tokenizer.model").unlink()
    assert "tokenizer.model: the tokenizer is missing" in fails(tiny.path, *vision)


def write_original(folder: Path) -> Path:
    return write(folder).path


def write_any_resolution(folder: Path) -> Path:
    return write(folder, ANYRES).path


def write_hf(folder: Path) -> Path:
    folder.mkdir()
    write_converted(folder, CONVERTED, TOWER, seed=0)
    return folder


def write_idefics(folder: Path) -> Path:
    folder.mkdir()
    write_checkpoint(folder, {}, seed=0)
    return folder


WRITERS = (write_original, write_any_resolution, write_hf, write_idefics)


@pytest.mark.parametrize(("weights", "config"), [*itertools.permutations(WRITERS, 2)])
def test_weights_beside_another_familys_configuration_are_one_line(
    weights: Callable[[Path], Path], config: Callable[[Path], Path], fails: Fails, tmp_path: Path
) -> None:
    mixed = config(tmp_path / "mixed")
    shutil.copy(weights(tmp_path / "other") / "model.safetensors", mixed / "model.safetensors")
    tower = mixed.parent / "clip"
    message = fails(mixed, *(("--vision", tower) if tower.is_dir() else ()))
    assert "tensor" in message and str(mixed) in message
