"""Every published form of the same weights is the same model; what loading keeps and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import flamingo_lab as fl
from flamingo_lab.errors import BadSetting
from flamingo_lab.notes import forget
from flamingo_lab.placement import devices
from tests.families.tiny_idefics import write_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "whole"
    write_checkpoint(folder, {}, seed=3)
    return folder


def logprob(folder: Path, dtype: str = "float32") -> float:
    picture = fl.Image(Image.new("RGB", (30, 20), (200, 30, 90)))
    answer = fl.load(folder, dtype=dtype).answer(picture, "what is it?", max_new_tokens=4)
    assert answer.logprob is not None
    return answer.logprob


@pytest.mark.parametrize("form", ["sharded", "bin", "old bin", "sharded bin"])
def test_every_form_gives_the_same_answer(form: str, folder: Path, tmp_path: Path) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    file = other / "model.safetensors"
    tensors = load_file(file)
    file.unlink()
    if form == "sharded":
        write_checkpoint(other, {}, seed=3, max_shard_size="20KB")
        assert len(list(other.glob("model-*"))) > 2
    elif form == "sharded bin":
        import json

        names = sorted(tensors)
        for shard in (0, 1):
            held = {name: tensors[name] for name in names[shard::2]}
            torch.save(held, other / f"pytorch_model-0000{shard + 1}-of-00002.bin")
        where = {name: f"pytorch_model-0000{number % 2 + 1}-of-00002.bin" for number, name in enumerate(names)}
        (other / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    else:
        is_zip = form == "bin"
        torch.save(tensors, other / "pytorch_model.bin", _use_new_zipfile_serialization=is_zip)
    # Where a file puts a tensor in memory decides the last bit of its products.
    assert logprob(other) == pytest.approx(logprob(folder), abs=1e-5)


def test_buffers_of_2023_files_are_passed_over(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    other = shutil.copytree(folder, tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)
    tensors["model.gated_cross_attn_layers.0.cross_attn.rotary_emb.inv_freq"] = torch.ones(4)
    tensors["model.vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt"})
    # Where a file puts a tensor in memory decides the last bit of its products.
    assert logprob(other) == pytest.approx(logprob(folder), abs=1e-5)


def test_weights_in_their_own_dtype_stay_in_their_file(folder: Path) -> None:
    """No copy: the parameter's memory is that of the mapped file."""
    model = fl.load(folder, dtype="float32")
    parameter = model.vlm.get_parameter("decoder.layers.0.attention.q.weight")
    maps = Path("/proc/self/maps").read_text().splitlines()
    (line,) = [
        line
        for line in maps
        if int(line.split("-")[0], 16) <= parameter.data_ptr() < int(line.split()[0].split("-")[1], 16)
    ]
    assert line.endswith("model.safetensors")


@pytest.mark.parametrize(("is_native", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_dtype_is_bfloat16_where_the_processor_multiplies_it(
    is_native: bool, expected: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "has_native_bfloat16", lambda: is_native)
    assert fl.load(folder, device="cpu").about["dtype"] == expected
    assert fl.load(folder, device="cpu", dtype="float32").about["dtype"] == "float32"


def test_bfloat16_answers_are_close(folder: Path) -> None:
    assert logprob(folder, "bfloat16") == pytest.approx(logprob(folder), rel=0.1)


def test_a_gpu_that_is_not_there_is_told(folder: Path) -> None:
    missing = torch.cuda.device_count() + 7
    with pytest.raises(BadSetting, match=f"cuda:{missing}: of the GPUs that torch can use this machine has"):
        fl.load(folder, device=f"cuda:{missing}")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same_answer(folder: Path) -> None:
    picture = fl.Image(Image.new("RGB", (30, 20), (200, 30, 90)))
    answers = [
        fl.load(folder, device=device, dtype="float32").answer(picture, "what is it?", max_new_tokens=4)
        for device in ("cpu", "cuda")
    ]
    assert answers[0].token_ids == answers[1].token_ids
    assert answers[0].logprob == pytest.approx(answers[1].logprob, abs=1e-3)


def test_float16_is_warned_of_and_bfloat16_is_not(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    forget()
    fl.load(folder, dtype="bfloat16")
    assert not caplog.messages
    fl.load(folder, dtype="float16")
    assert [line for line in caplog.messages if "float16" in line and "the authors use bfloat16" in line]
