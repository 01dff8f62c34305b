"""What becomes of a folder in transformers' layout: its digest, its faults, and nothing that it brings is run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import flamingo_lab as fl
from flamingo_lab.backends.transformers import PretrainedModel
from flamingo_lab.cli import run
from flamingo_lab.errors import BadCheckpoint, LabError
from tests.backends import tiny


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(folders["qwen2_5_vl"], tmp_path / "model")


def load(folder: Path, dtype: str = "float32") -> PretrainedModel:
    model = fl.load(f"hf:{folder}", device="cpu", dtype=dtype)
    assert isinstance(model, PretrainedModel)
    return model


def edit(file: Path, **changes: Any) -> None:
    held = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in held.items() if value is not None}))


def nudge(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("q_proj.weight"))
    tensors[name].view(-1)[0] += 1e-3
    save_file(tensors, file, metadata={"format": "pt"})


def test_facts_for_the_record(loaded: dict[str, PretrainedModel], folders: dict[str, Path]) -> None:
    model = loaded["qwen2_5_vl"]
    assert model.name == "hf:qwen2_5_vl"
    assert model.about == {
        "family": "qwen2_5_vl",
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "backend": "transformers",
        "dtype": "float32",
        "device": "cpu",
        "weights": str(folders["qwen2_5_vl"]),
        "wording": "template default",
    }
    assert model.limits.positions == tiny.POSITIONS


CHANGES: dict[str, Callable[[Path], object]] = {
    "weight": nudge,
    "template": lambda folder: (folder / "chat_template.jinja").open("a").write(" "),
    "pictures": lambda folder: edit(folder / "preprocessor_config.json", max_pixels=28 * 28 * 6),
    "configuration": lambda folder: edit(folder / "config.json", rms_norm_eps=1e-3),
    "stop token": lambda folder: edit(folder / "generation_config.json", eos_token_id=[2, 0]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_an_answer_changes_the_digest(change: str, folder: Path) -> None:
    before = load(folder).digest
    CHANGES[change](folder)
    assert load(folder).digest != before


def test_a_folder_keeps_its_digest_under_another_name(folder: Path, loaded: dict[str, PretrainedModel]) -> None:
    assert load(folder).digest == loaded["qwen2_5_vl"].digest
    assert load(folder, "bfloat16").digest != loaded["qwen2_5_vl"].digest


def test_dtype_auto_is_a_whole_one(folder: Path) -> None:
    model = load(folder, "auto")
    assert model.about["dtype"] in ("float32", "bfloat16")
    assert {parameter.dtype for parameter in model.network.parameters()} == {getattr(torch, model.about["dtype"])}


def no_tensor(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    del tensors[next(name for name in tensors if name.endswith("k_proj.weight"))]
    save_file(tensors, file, metadata={"format": "pt"})


def other_shape(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("k_proj.weight"))
    tensors[name] = tensors[name][:-1].clone()
    save_file(tensors, file, metadata={"format": "pt"})


def no_shard(folder: Path) -> None:
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def cut_short(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "config.json missing": (lambda folder: (folder / "config.json").unlink(), "no config.json"),
    "config.json broken": (lambda folder: (folder / "config.json").write_text("{"), "not readable as JSON"),
    "another kind of model": (
        lambda folder: edit(folder / "config.json", model_type="bert"),
        "model_type 'bert' is no model for pictures and text in transformers",
    ),
    "an unheard-of kind": (lambda folder: edit(folder / "config.json", model_type="gpt9"), "model_type 'gpt9' is no"),
    "no weights": (no_weights, "no weights here"),
    "a shard missing": (no_shard, "this shard is missing"),
    "weights cut short": (cut_short, "cannot read it"),
    "a tensor missing": (no_tensor, "1 tensors are missing"),
    "a tensor of another shape": (other_shape, "1 tensors are of another shape"),
    "no tokenizer": (no_tokenizer, "cannot read it"),
    "a template that is none": (
        lambda folder: (folder / "chat_template.jinja").write_text("{% for %}"),
        "chat template refuses the prompt",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_of_a_folder_is_one_line(fault: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    break_it, told = FAULTS[fault]
    break_it(folder)
    assert (
        run(["eval", "--model", f"hf:{folder}", "--tasks", "easy-vqa", "--limit", "1", "--results", str(folder)]) == 2
    )
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1
    assert err.startswith("error: ") and told in err


def test_names_and_settings_that_do_not_fit(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    def fails(*arguments: str) -> str:
        assert run(["ask", "what?", "--raw", *arguments]) == 2
        out, err = capsys.readouterr()
        assert not out and len(err.splitlines()) == 1 and err.startswith("error: ")
        return err

    assert "hf download nobody/nothing" in fails("--model", "hf:nobody/nothing")
    assert "there is no folder of that name" in fails("--model", "hf:./nowhere")
    assert "names no model; write hf:NAME" in fails("--model", "hf:")
    assert "unknown model 'hg:x'" in fails("--model", "hg:x")
    takes = "it takes --device, --dtype, --template, --download: leave it away"
    for setting in (["--base-url", "http://127.0.0.1/v1"], ["--concurrency", "3"], ["--router-noise", "1"]):
        assert f"takes no {setting[0]}; {takes}" in fails("--model", f"hf:{folder}", *setting)
    for part in ("--vision", "--weights", "--language-model"):
        assert f"takes no {part}; {takes}" in fails("--model", f"hf:{folder}", part, str(folder))
    assert "'int3' is none of" in fails("--model", f"hf:{folder}", "--dtype", "int3")
    assert "'tpu' is none of" in fails("--model", f"hf:{folder}", "--device", "tpu")
    assert "template 'v9' is none of this model's: default, running" in fails(
        "--model", f"hf:{folder}", "--template", "v9"
    )
    assert "base_url: flamingo-tiny is no endpoint" in fails("--model", "flamingo-tiny", "--base-url", "http://a/v1")


def test_check_says_that_a_backend_has_no_layout_of_ours(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    assert run(["check", f"hf:{folder}"]) == 2
    assert "is answered by a backend" in capsys.readouterr().err


CODE = "from pathlib import Path\nPath({where!r}).write_text('run')\n"


@pytest.mark.parametrize("kind", ["qwen2_5_vl", "unheard_of"])
def test_code_in_a_folder_is_never_run(kind: str, folder: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    (folder / "modeling_bad.py").write_text(CODE.format(where=str(proof)))
    mapped = {name: f"modeling_bad.{name}" for name in ("AutoConfig", "AutoModelForImageTextToText", "AutoProcessor")}
    mapped |= {"AutoTokenizer": ["modeling_bad.A", "modeling_bad.B"], "AutoImageProcessor": "modeling_bad.C"}
    edit(folder / "config.json", auto_map=mapped, model_type=kind)
    for name in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        edit(folder / name, auto_map=mapped)
    if kind == "qwen2_5_vl":
        assert load(folder).network is not None
    else:
        with pytest.raises(BadCheckpoint, match="unheard_of"):
            load(folder)
    assert not proof.exists()


def test_a_pickle_in_the_weights_is_never_run(folder: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"

    class Bad:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.write_text, (proof, "run")

    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1), "b": Bad()}, folder / "pytorch_model.bin")
    with pytest.raises(LabError, match="cannot read it"):
        load(folder)
    assert not proof.exists()


def test_nothing_is_fetched_unless_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folders: dict[str, Path]
) -> None:
    """A socket would be an error: loading a folder and asking for a missing repository need none."""
    import socket

    def refuse(*arguments: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    load(folders["idefics3"])
    with pytest.raises(LabError, match="is not on this machine"):
        fl.load("hf:nobody/nothing")
