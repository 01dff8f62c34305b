"""Quantised copies: the same model as one that is quantised while it loads, or one line that says why there is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import flamingo_lab as fl
from flamingo_lab import understanding
from flamingo_lab.errors import BadCheckpoint, BadSetting, LabError
from flamingo_lab.quant import FORMS, copy
from tests.families import tiny_llava, tiny_llava_parts
from tests.families.goldens import Golden, found
from tests.families.tiny_idefics import write_checkpoint
from tests.folders import GOLDENS
from tests.scale.test_offload import as_bin, requests

CLOSE = 1e-4
"""Sums run in another order where weights stand at other addresses."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("idefics")
    write_checkpoint(path, {}, seed=5, max_shard_size="30KB")
    return path


@pytest.fixture(scope="module")
def made(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(folder, "int4", tmp_path_factory.mktemp("copies") / "tiny-int4")


def written(
    folder: Path, form: str, to: Path, parts: dict[str, Path] | None = None, settings: dict[str, int] | None = None
) -> Path:
    return copy.write(understanding.understand(str(folder), None, parts, settings), form, to).folder


def same(ours: fl.LoadedModel, theirs: fl.LoadedModel) -> None:
    """Assert that two models hold the same bytes."""
    held, expected = ours.vlm.state_dict(), theirs.vlm.state_dict()
    assert held.keys() == expected.keys()
    for name, tensor in held.items():
        assert tensor.dtype == expected[name].dtype and torch.equal(tensor, expected[name]), name


WITH_COPIES = [golden for golden in found(GOLDENS) if golden.facts["load"] and "base" not in golden.facts["load"]]


@pytest.mark.skipif(not WITH_COPIES, reason=f"no goldens under FLAB_GOLDENS ({GOLDENS})")
@pytest.mark.parametrize("golden", WITH_COPIES, ids=lambda golden: golden.folder.name)
def test_a_copy_of_every_family_is_the_model_quantised_while_it_loads(golden: Golden, tmp_path: Path) -> None:
    case = next(iter(golden.cases.values()))
    given: dict[str, Any] = {
        part: golden.folder / where if isinstance(where, str) else where for part, where in golden.facts["load"].items()
    }
    path = given.pop("path")
    parts = {name: value for name, value in given.items() if isinstance(value, Path)}
    settings = {name: value for name, value in given.items() if not isinstance(value, Path)}
    # The copy has to hold all that it needs: the files that it was made from are gone when it is loaded.
    away = tmp_path / "published"
    shutil.copytree(golden.folder, away)
    here = {name: away / value.relative_to(golden.folder) for name, value in parts.items()}
    to = written(away / Path(path).relative_to(golden.folder), "int4", tmp_path / "copy", here, settings)
    shutil.rmtree(away)
    model = fl.load(path, wording=case.template, dtype="float32", device="cpu", quant="int4", **given)
    copied = fl.load(to, wording=case.template, dtype="float32", device="cpu")
    same(copied, model)
    assert copied.about["quantisation"] == "int4" and copied.digest != model.digest
    asked = [fl.Request("0", case.rows[0].prompt, fl.Greedy(), max_new_tokens=3)]
    (answer,), (expected,) = list(copied.answers(asked)), list(model.answers(asked))
    assert answer.error is None and answer.token_ids == expected.token_ids
    assert answer.logprob == pytest.approx(expected.logprob, abs=CLOSE)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_copy_takes_any_dtype(folder: Path, form: str, dtype: str, tmp_path: Path) -> None:
    to = written(folder, form, tmp_path / "copy")
    model, copied = fl.load(folder, dtype=dtype, quant=form), fl.load(to, dtype=dtype)
    same(copied, model)
    expected = {one.id: one.token_ids for one in model.answers(requests(8))}
    assert {one.id: one.token_ids for one in copied.answers(requests(8))} == expected


def test_bin_files_several_shards_and_several_files(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = tmp_path / "bin"
    published.mkdir()
    as_bin(folder, published)
    monkeypatch.setattr(copy, "SHARD_BYTES", 10_000)
    to = written(published, "int8", tmp_path / "copy")
    assert len(list(to.glob("*.safetensors"))) > 3 and not list(to.glob("*.bin*"))
    same(fl.load(to, dtype="float32"), fl.load(folder, dtype="float32", quant="int8"))


def test_a_copy_is_small_and_readable_by_others(folder: Path, made: Path) -> None:
    def size(path: Path) -> int:
        return sum(file.stat().st_size for file in path.glob("*.safetensors"))

    assert size(made) < 0.8 * size(folder)
    assert all(file.stat().st_mode & 0o044 == (made / "config.json").stat().st_mode & 0o044 for file in made.iterdir())
    assert not list(made.glob("*.index.json"))


def test_the_form_may_be_said_and_no_other_one(made: Path) -> None:
    assert fl.load(made, quant="int4").digest == fl.load(made).digest
    with pytest.raises(BadSetting, match=f"--quant int8: {made} is quantised to int4; leave the option away"):
        fl.load(made, quant="int8")


@pytest.mark.parametrize("other", [{"offload": True}, {"tensor_parallel": 2}])
def test_a_copy_is_neither_offloaded_nor_split(made: Path, other: dict[str, Any]) -> None:
    with pytest.raises(BadSetting, match="is quantised to int4, which stays on one device"):
        fl.load(made, **other)


def test_a_copy_takes_no_other_parts(made: Path) -> None:
    with pytest.raises(BadSetting, match="holds all its parts"):
        fl.load(made, vision=made)


def test_a_copy_of_a_copy(made: Path, tmp_path: Path) -> None:
    with pytest.raises(BadSetting, match="is a quantised copy already"):
        written(made, "int8", tmp_path / "copy")


def test_what_is_put_together_while_it_loads_has_no_copy(tmp_path: Path) -> None:
    tiny = tiny_llava.write(tmp_path / "whole")
    folder, base, _ = tiny_llava_parts.write_delta(tiny, tmp_path)
    with pytest.raises(BadSetting, match="load it with --quant"):
        written(folder, "int8", tmp_path / "copy", {"base": base, "vision": tiny.vision})
    assert not (tmp_path / "copy").exists()


# What is wrong with a copy


@pytest.fixture
def broken(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "broken")


def facts(folder: Path, **changes: Any) -> None:
    file = folder / "quantised.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "quantised-00001.safetensors")


def refused(folder: Path, words: str) -> None:
    with pytest.raises(LabError, match=words) as caught:
        fl.load(folder)
    assert isinstance(caught.value, BadCheckpoint) and str(caught.value).count("\n") == 0


def test_another_format(broken: Path) -> None:
    facts(broken, format=2)
    refused(broken, "another version of this package")


def test_incomplete_facts(broken: Path) -> None:
    facts(broken, published={"model.norm.weight": {"shape": [16]}})
    refused(broken, "incomplete")


def test_a_missing_file(broken: Path) -> None:
    (broken / "quantised-00001.safetensors").unlink()
    refused(broken, "this file is missing")


def test_a_truncated_file(broken: Path) -> None:
    file = broken / "quantised-00001.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    refused(broken, "truncated or corrupt")


@pytest.mark.parametrize(
    "name", ["decoder.norm.weight", "decoder.layers.0.mlp.up.weight", "decoder.layers.0.mlp.up.scales"]
)
def test_a_missing_tensor(broken: Path, name: str) -> None:
    held = tensors(broken)
    del held[name]
    save_file(held, broken / "quantised-00001.safetensors")
    refused(broken, name.removesuffix("scales"))


def test_a_tensor_of_another_shape(broken: Path) -> None:
    held = tensors(broken)
    held["decoder.layers.0.mlp.up.weight"] = held["decoder.layers.0.mlp.up.weight"][:-1].clone()
    save_file(held, broken / "quantised-00001.safetensors")
    refused(broken, "decoder.layers.0.mlp.up.weight is")


def test_a_kept_tensor_of_another_shape(broken: Path) -> None:
    held = tensors(broken)
    held["decoder.norm.weight"] = torch.ones(3)
    save_file(held, broken / "quantised-00001.safetensors")
    refused(broken, "decoder.norm.weight is")


def test_an_unknown_tensor(broken: Path) -> None:
    save_file(tensors(broken) | {"more": torch.ones(2)}, broken / "quantised-00001.safetensors")
    refused(broken, "unknown tensor more")
