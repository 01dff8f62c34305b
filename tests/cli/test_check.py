"""`flab check`: from headers alone, whether a folder would load, and if not, everything that is wrong with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from flamingo_lab.cli import run
from tests.families import tiny_fuyu
from tests.families.goldens import Golden, found
from tests.families.tiny_idefics import write_checkpoint
from tests.folders import GOLDENS


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "sound"
    write_checkpoint(folder, {}, seed=0)
    return folder


def checked(capsys: pytest.CaptureFixture[str], code: int, *arguments: str | Path) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["check", "--json", *map(str, arguments)]) == code
    return json.loads(capsys.readouterr().out)


def test_a_sound_folder_loads(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = checked(capsys, 0, sound)
    assert (facts["loads"], facts["family"], facts["passed over"]) == (True, "idefics", 0)
    assert facts["tensors"] == len(load_file(sound / "model.safetensors"))
    assert "int4" in facts["memory"]


def test_every_fault_is_named(sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(sound, tmp_path / "broken")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.norm.weight"]
    tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(2, 2)
    tensors["model.more"] = torch.zeros(3)
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    facts = checked(capsys, 2, folder)
    assert facts["loads"] is False
    assert facts["passed over"] == 3  # the buffer, and what has no place
    assert facts["left over"] == {
        "model.layers.N.mlp.up_proj.weight": 1,
        "model.layers.N.self_attn.rotary_emb.inv_freq": 1,
        "model.more": 1,
    }
    assert sorted(fault.partition(": ")[2] for fault in facts["faults"]) == [
        "tensor model.layers.0.mlp.up_proj.weight has shape [2, 2]; config.json asks for [24, 16]",
        "tensor model.norm.weight [16] is missing",
        "unknown tensor model.more [3]: no rule names it",
    ]
    assert run(["check", str(folder)]) == 2
    assert "faults" in capsys.readouterr().out


def test_what_loading_needs_besides_weights_is_looked_at_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "fuyu"
    folder.mkdir()
    tiny_fuyu.write_checkpoint(folder, {}, 0)
    assert checked(capsys, 0, folder)["template"] == "base"
    assert run(["check", str(folder), "--template", "chatml"]) == 2
    assert "wording 'chatml' is none of the fuyu family's" in capsys.readouterr().err
    (folder / "preprocessor_config.json").write_text('{"patch_size": 7}')
    assert run(["check", str(folder)]) == 2
    assert "patch_size is 7" in capsys.readouterr().err
    (folder / "preprocessor_config.json").unlink()
    (folder / "tokenizer.json").unlink()
    assert run(["check", str(folder)]) == 2
    assert "tokenizer.json: the tokenizer is missing" in capsys.readouterr().err


def test_no_weights_are_read(sound: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from flamingo_lab.checkpoint import Checkpoint

    def refused(self: Checkpoint) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(Checkpoint, "tensors", refused)
    assert checked(capsys, 0, sound)["loads"]


def test_many_names_that_begin_alike_are_one_group(
    sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(sound, tmp_path / "more")
    more = {f"extra.{number}.{name}": torch.ones(2) for number in range(3) for name in "abcde"}
    save_file(load_file(folder / "model.safetensors") | more, folder / "model.safetensors")
    assert checked(capsys, 2, folder)["left over"] == {"extra.N.*": 15}


COMPOSED = [GOLDENS / "seal_vqa", GOLDENS / "seal_vsm"]


@pytest.mark.skipif(not all(map(Path.is_dir, COMPOSED)), reason=f"no goldens of SEAL under FLAB_GOLDENS ({GOLDENS})")
def test_a_model_made_of_others_is_checked_model_by_model(capsys: pytest.CaptureFixture[str]) -> None:
    vqa, vsm = COMPOSED
    given: list[str | Path] = ["seal", "--vqa", vqa / "checkpoint", "--vsm", vsm / "checkpoint"]
    capsys.readouterr()
    assert (
        run(["check", "--json", *map(str, given), "--vision", str(vqa / "vision"), "--owlvit", str(vsm / "owlvit")])
        == 0
    )
    facts = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["family"] for one in facts] == ["seal_vqa", "seal_vsm"]
    assert all(one["loads"] for one in facts)
    assert run(["check", *map(str, given), "--vision", str(vqa / "vision"), "--plan", "--json"]) == 0
    planned = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["model"] for one in planned] == ["seal_vqa_7b", "seal_vsm_7b"]
    assert run(["check", *map(str, given), "--base", str(vqa / "vision")]) == 2
    assert "--base DIR: none of the models that seal is made of has such a part" in capsys.readouterr().err
    assert run(["check", "seal", "--vqa", str(vqa / "checkpoint"), "--vision", str(vqa / "vision")]) == 2
    assert "--vsm DIR" in capsys.readouterr().err


FOUND = found(GOLDENS)


@pytest.mark.skipif(not FOUND, reason=f"no goldens under FLAB_GOLDENS ({GOLDENS})")
@pytest.mark.parametrize("golden", FOUND, ids=lambda golden: golden.folder.name)
def test_every_golden_with_weights_would_load(golden: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    given = dict(golden.facts["load"])
    path = golden.folder / given.pop("path")
    more = [
        word
        for name, value in given.items()
        for word in (f"--{name.replace('_', '-')}", str(golden.folder / value if isinstance(value, str) else value))
    ]
    assert checked(capsys, 0, path, *more)["loads"]
