"""Every mistake of a user is one clear line and exit code 2, in Python one `LabError`, and leaves nothing behind."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import flamingo_lab as fl
from flamingo_lab import understanding
from flamingo_lab.cli import run
from flamingo_lab.notes import forget
from flamingo_lab.prompt import CAPTION
from tests.families.tiny_idefics import write_checkpoint
from tests.folders import ROOT
from tests.tasks import charts


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "sound"
    write_checkpoint(folder, {"max_position_embeddings": 2048}, seed=0, max_shard_size="20KB")
    return folder


@pytest.fixture
def model(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "model")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return charts.write(tmp_path / "data")


@pytest.fixture(autouse=True)
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


Fails = Callable[..., str]


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Fails:
    """Runs a command that has to fail as a user's mistake; gives its message."""

    def check(*arguments: str | Path, lines: int = 1) -> str:
        capsys.readouterr()
        assert run([str(argument) for argument in arguments]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("error: ") and "Traceback" not in err
        assert len(err.strip().splitlines()) == lines, err
        assert not list(tmp_path.glob("results/runs/*/samples.parquet"))
        return err

    return check


def evaluate(model: Path | str, data: Path | str, *more: str) -> list[str]:
    return ["eval", "--model", str(model), "--tasks", "chartqa", "--data", str(data), *more]


def test_unknown_names_come_with_the_nearest_ones(fails: Fails, data: Path) -> None:
    assert "did you mean idefics-80b" in fails("eval", "--model", "idefix-80b", "--tasks", "chartqa")
    assert "did you mean chartqa" in fails("eval", "--model", "idefics-9b", "--tasks", "chart-qa")
    assert "did you mean shuffle-pictures" in fails(
        "eval", "--model", "idefics-9b", "--tasks", "shapes-binding", "--task-option", "shufle-pictures"
    )
    assert "--num-fewshots" in fails(*evaluate("idefics-9b", data, "--num-fewshots", "2"), lines=2)
    assert "did you mean idefics-9b" in fails("show", "model", "idefics-9")
    assert "did you mean easy-vqa" in fails("show", "task", "easyvqa")
    assert "no run 'beef'" in fails("show", "run", "beef")
    assert "only flamingo-tiny" in fails("train", "flamingo-huge")


def test_names_unlike_any_are_not_guessed(fails: Fails, data: Path) -> None:
    for command in (["check", "./nofolder"], ["show", "model", "./nofolder"], evaluate("./nofolder", data)):
        assert "./nofolder: no such folder, and no listed name" in fails(*command)
    for name in ("zzzzz", ""):
        said = fails("check", name)
        assert f"unknown model {name!r}" in said and "flab list models has all" in said and "idefics" not in said
    assert "'zzz': flab list metrics shows all" in fails(*evaluate("flamingo-tiny", data, "--metric", "zzz/official"))
    assert "did you mean" not in fails(*evaluate("flamingo-tiny", data, "--shot-selection", "zzz"))


def test_a_file_in_the_place_of_the_training(fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for out in ("taken", "taken/below"):
        assert "a file stands where" in fails("train", "flamingo-tiny", "--out", out)


def test_no_verb_is_answered_with_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    assert capsys.readouterr().err.startswith("Usage: ")


def test_unknown_choices(fails: Fails, model: Path, data: Path) -> None:
    assert "'tpu' is none of" in fails(*evaluate(model, data, "--device", "tpu"))
    assert "'int3' is none of" in fails(*evaluate(model, data, "--dtype", "int3"))
    assert "'clever' is none of" in fails(*evaluate(model, data, "--shot-selection", "clever"))
    assert "no split 'dev'" in fails(*evaluate(model, data, "--split", "dev"))
    assert "no wording 'rude'" in fails(*evaluate(model, data, "--wording", "rude"))
    assert "two ways to decode" in fails(*evaluate(model, data, "--beams", "2", "--temperature", "1"))
    assert "top_p 2.0" in fails(*evaluate(model, data, "--temperature", "1", "--top-p", "2"))
    assert "temperature inf" in fails(*evaluate(model, data, "--temperature", "inf"))
    assert "length penalty nan" in fails(*evaluate(model, data, "--beams", "2", "--length-penalty", "nan"))
    assert "without --temperature" in fails(*evaluate(model, data, "--top-p", "0.5"))
    assert "no answer has 17 new tokens at least and 16 at most" in fails(
        *evaluate("idefics-9b", data, "--min-new-tokens", "17")
    )
    assert "without --num-fewshot" in fails(*evaluate(model, data, "--shot-selection", "rices"))
    assert "--seed and --seeds" in fails(*evaluate(model, data, "--seed", "1", "--seeds", "0,1"))
    assert "of the idefics family needs nothing else" in fails(*evaluate(model, data, "--vision", str(model)))
    assert "--format xml" in fails("results", "table", "--format", "xml")


def test_folders_that_hold_no_model(fails: Fails, tmp_path: Path, model: Path, data: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no config.json" in fails(*evaluate(tmp_path / "empty", data))
    assert f"no config.json in it, {model} has one" in fails("check", tmp_path)
    assert "no such folder" in fails(*evaluate("idefics-9b", data, "--weights", str(tmp_path / "nowhere")))
    (model / "config.json").write_text("{not json")
    assert "config.json" in fails(*evaluate(model, data))
    (model / "config.json").write_text('{"model_type": "resnet"}')
    assert "'resnet' belongs to none" in fails(*evaluate(model, data))
    (model / "config.json").write_text('{"model_type": "idefics"}')
    assert "image_size 12, but the tower takes 224" in fails(*evaluate(model, data))


WRONG = ("big", 0, -1, 1.5, True, [], {})


def test_settings_of_a_wrong_kind(fails: Fails, model: Path) -> None:
    file = model / "config.json"
    sound = json.loads(file.read_text())
    refused: set[str] = set()
    for key in sound:
        for value in WRONG:
            file.write_text(json.dumps(sound | {key: value}))
            try:
                understanding.understand(str(model))
            except fl.LabError as error:
                assert "\n" not in str(error)
                refused.add(key)
    assert refused >= {"hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size"}
    file.write_text(json.dumps(sound | {"vision_config": []}))
    assert "config.json: not a usable configuration (" in fails("check", model)


def shards(model: Path) -> list[Path]:
    found = sorted(model.glob("model-*.safetensors"))
    assert len(found) > 2
    return found


def test_a_truncated_shard(fails: Fails, model: Path, data: Path) -> None:
    shard = shards(model)[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    assert shard.name in fails(*evaluate(model, data))


def test_a_corrupt_shard(fails: Fails, model: Path, data: Path) -> None:
    shard = shards(model)[1]
    shard.write_bytes(b"\xff" * 500)
    assert shard.name in fails(*evaluate(model, data))


def test_a_missing_shard(fails: Fails, model: Path, data: Path) -> None:
    shard = shards(model)[1]
    shard.unlink()
    assert shard.name in fails(*evaluate(model, data))


def changed(model: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(shards(model)[0])
    change(tensors)
    save_file(tensors, shards(model)[0], metadata={"format": "pt"})


def test_a_tensor_of_the_wrong_shape(fails: Fails, model: Path, data: Path) -> None:
    name = next(iter(load_file(shards(model)[0])))
    changed(model, lambda tensors: tensors.update({name: torch.zeros(3, 5)}))
    assert f"tensor {name} has shape [3, 5]; config.json asks for" in fails(*evaluate(model, data))


def test_an_unknown_tensor(fails: Fails, model: Path, data: Path) -> None:
    (index,) = model.glob("*.index.json")
    held = json.loads(index.read_text())
    held["weight_map"]["model.extra.weight"] = shards(model)[0].name
    index.write_text(json.dumps(held))
    changed(model, lambda tensors: tensors.update({"model.extra.weight": torch.zeros(3)}))
    assert "unknown tensor model.extra.weight [3]" in fails(*evaluate(model, data))


def test_a_missing_tensor(fails: Fails, model: Path, data: Path) -> None:
    (index,) = model.glob("*.index.json")
    held = json.loads(index.read_text())
    name = next(name for name, file in held["weight_map"].items() if file == shards(model)[0].name)
    del held["weight_map"][name]
    index.write_text(json.dumps(held))
    changed(model, lambda tensors: tensors.pop(name))
    assert f"tensor {name}" in fails(*evaluate(model, data))


class Evil:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return (open, ("stolen", "w"))  # pyright: ignore[reportReturnType]


def as_bin(model: Path, held: object, *, pickled: bool = False) -> None:
    for file in [*shards(model), *model.glob("*.index.json")]:
        file.unlink()
    if pickled:
        (model / "pytorch_model.bin").write_bytes(pickle.dumps(held))
    else:
        torch.save(held, model / "pytorch_model.bin")


@pytest.mark.parametrize("pickled", [True, False])
def test_a_bin_that_holds_code_is_refused_and_not_run(pickled: bool, fails: Fails, model: Path, data: Path) -> None:
    as_bin(model, {"model.norm.weight": Evil()}, pickled=pickled)
    assert "pytorch_model.bin" in fails(*evaluate(model, data))
    assert not Path("stolen").exists()


def test_a_bin_that_holds_something_else_than_tensors(fails: Fails, model: Path, data: Path) -> None:
    as_bin(model, {"model.norm.weight": [1.0, 2.0]})
    assert "pytorch_model.bin" in fails(*evaluate(model, data))


@pytest.mark.parametrize("verb", ["check", "ask", "eval"])
def test_a_listed_name_refuses_another_familys_folder(verb: str, fails: Fails, model: Path, data: Path) -> None:
    name = "llava-v1.5-7b"
    command = {
        "check": ["check", name],
        "ask": ["ask", "--model", name, "--image", "a.png", "what?"],
        "eval": evaluate(name, data),
    }[verb]
    Image.new("RGB", (8, 8)).save("a.png")
    message = fails(*command, "--weights", model)
    assert f"{model} is of the idefics family, {name} of the llava family" in message
    assert "name this folder itself with --model" in message


def test_a_folder_of_another_size_under_a_listed_name_is_told(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    forget()
    loaded = fl.load("idefics-9b", weights=model)
    (told,) = [line for line in caplog.messages if "parameters" in line]
    assert f"{loaded.about['parameters']:,} parameters, idefics-9b as listed 8,929,679,632" in told


def test_a_folder_without_weights_or_tokenizer(fails: Fails, model: Path, data: Path) -> None:
    (model / "tokenizer.json").unlink()
    assert "tokenizer.json" in fails(*evaluate(model, data))
    for file in [*shards(model), *model.glob("*.index.json")]:
        file.unlink()
    assert str(model) in fails(*evaluate(model, data))


@pytest.mark.parametrize("content", [b"", b"no picture", "bomb"])
def test_an_unreadable_picture(content: bytes | str, fails: Fails, model: Path, tmp_path: Path) -> None:
    file = tmp_path / "p.png"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        Image.new("1", (20_000, 20_000)).save(file)
    said = fails("ask", "--model", model, "--image", file, "what is this?")
    assert "p.png" in said and "object at" not in said
    assert "gone.png" in fails("ask", "--model", model, "--image", "gone.png", "what is this?")
    assert "a folder; a picture is expected" in fails("ask", "--model", model, "--image", ".", "what is this?")


def test_a_question_without_a_picture_or_words(fails: Fails, model: Path) -> None:
    assert "nothing is asked" in fails("ask", "--model", model, lines=2)
    assert "a question without a picture" in fails("ask", "--model", model, "what is this?")
    for text in ((), ("",), (" ",)):
        assert "without a question" in fails("ask", "--model", model, "--image", "x.png", *text)
    assert "No such option: -n" in fails("ask", "--model", model, "--image", "x.png", "what?", "-n", "3", lines=2)
    assert "--image needs a file" in fails("ask", "--model", model, "what?", "--image", lines=2)
    assert "--imgae" in fails("ask", "--model", model, "--imgae", "x.png", "what?", lines=2)


def test_a_row_of_a_task_without_a_picture(fails: Fails, model: Path, data: Path) -> None:
    file = data / "ChartQA Dataset" / "test" / "test_human.json"
    rows = json.loads(file.read_text())
    del rows[1]["imgname"]
    file.write_text(json.dumps(rows))
    assert "row 1: the field 'imgname' is missing" in fails(*evaluate(model, data))


@pytest.mark.parametrize("field", ["query", "label"])
def test_a_row_that_lacks_a_field(field: str, fails: Fails, model: Path, data: Path) -> None:
    file = data / "ChartQA Dataset" / "test" / "test_augmented.json"
    rows = json.loads(file.read_text())
    del rows[2][field]
    file.write_text(json.dumps(rows))
    assert f"row 2: the field {field!r} is missing" in fails(*evaluate(model, data))


def test_a_picture_outside_of_the_data_folder(fails: Fails, model: Path, data: Path) -> None:
    file = data / "ChartQA Dataset" / "test" / "test_human.json"
    rows = json.loads(file.read_text())
    rows[0]["imgname"] = "../../../../secret.png"
    file.write_text(json.dumps(rows))
    assert "leads out of" in fails(*evaluate(model, data))


def test_data_folders_that_hold_nothing(fails: Fails, model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no questions of the test split" in fails(*evaluate(model, tmp_path / "empty"))
    assert "no such folder" in fails(*evaluate(model, tmp_path / "nowhere"))
    assert "hf download" in fails("eval", "--model", model, "--tasks", "chartqa")
    assert "no questions of the val split" in fails(*evaluate(model, data, "--split", "val"))
    assert "leave --data away" in fails("eval", "--model", model, "--tasks", "easy-vqa", "--data", data)


def test_more_shots_than_there_are(fails: Fails, model: Path, data: Path, tmp_path: Path) -> None:
    assert "7 shots asked for, but only 4 of the 6 examples share no picture or document" in fails(
        *evaluate(model, data, "--num-fewshot", "7")
    )
    assert "9 shots asked for; an episode has 8" in fails(
        "eval", "--model", model, "--tasks", "shapes-binding", "--num-fewshot", "9"
    )
    shutil.rmtree(data / "ChartQA Dataset" / "train")
    assert "no questions of the train split" in fails(*evaluate(model, data, "--num-fewshot", "1"))
    assert (
        run(evaluate(model, data, "--results", str(tmp_path / "r"), "--json")) == 0
    )  # only what is asked for is needed


def test_all_sets_that_may_not_be_cut_are_named(fails: Fails, model: Path) -> None:
    said = fails("eval", "--model", model, "--tasks", "mme,mmbench,easy-vqa", "--limit", "8")
    assert "mme" in said and "mmbench" in said and "easy-vqa" not in said and "--allow-partial" in said


def test_shots_that_no_split_has(fails: Fails, model: Path) -> None:
    """Told before easy-vqa is asked, which could be."""
    next(model.glob("*.safetensors")).write_bytes(b"no weights")
    begun = ("eval", "--model", model, "--tasks")
    said = fails(*begun, "easy-vqa,shapes-binding,pope,mmbench:dev-cn", "--num-fewshot", "2")
    assert "has shots for pope:test, mmbench:dev-cn; ask without --num-fewshot" in said
    assert "has shots for easy-vqa:train; " in fails(*begun, "easy-vqa:train", "--num-fewshot", "2")
    assert "has shots for easy-vqa:train; " in fails(
        *begun, "easy-vqa", "--split", "train", "--shot-selection", "text-only"
    )


def test_results_folders_that_cannot_be_written(fails: Fails, model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    assert "a file stands where" in fails(*evaluate(model, data, "--results", str(tmp_path / "taken")))
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "runs").write_text("")
    assert "a file stands where" in fails(*evaluate(model, data, "--results", str(tmp_path / "half")))


def test_results_of_a_newer_version(fails: Fails, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "runs" / "0"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"schema_version": 99}')
    assert "schema version 99" in fails("results", "table")


def test_predictions_that_cannot_be_scored(fails: Fails, tmp_path: Path) -> None:
    def score(content: str, *more: str | Path) -> str:
        (tmp_path / "p.json").write_text(content)
        return fails("score", "--task", "chartqa", "--predictions", "p.json", *more)

    assert "not readable" in score("{not json")
    assert "no predictions" in score("[]")
    assert "a list of objects" in score("[1, 2]")
    assert "the prediction is 3, not text" in score('[{"prediction": 3, "answer": "3"}]')
    assert "METRIC/VARIANT is expected" in score("[]", "--metric", "anls")
    assert "no variant 'strict'" in score('[{"prediction": "3", "answer": "3"}]', "--metric", "exact_match/strict")
    assert "not readable" in fails("score", "--task", "chartqa", "--predictions", "gone.json")
    data = charts.write(tmp_path / "data")
    assert "6 of 7 questions have no prediction" in score('[{"id": "test-human-0", "prediction": "0"}]', "--data", data)


def test_missing_weights_are_told_in_one_message(fails: Fails, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    message = fails("eval", "--model", "idefics-80b", "--tasks", "chartqa", lines=6)
    for part in ("is not on this machine", "hf download HuggingFaceM4/idefics-80b", "160 GB", "--weights DIR"):
        assert part in message
    assert "bfloat16 149 GiB · int8 " in message and "flab check idefics-80b --plan" in message
    assert "this machine has" in message


def test_a_full_stdout_is_told(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "flamingo_lab.cli", "list", "models"], cwd=ROOT, stdout=full, stderr=subprocess.PIPE
        )
    assert ended.returncode == 2
    assert ended.stderr.decode() == "error: the output could not be written (No space left on device)\n"


@pytest.fixture(scope="module")
def loaded(sound: Path) -> fl.LoadedModel:
    return fl.load(sound, device="cpu", dtype="float32")  # pyright: ignore[reportReturnType] - one of our families


PICTURE = fl.Image(Image.new("RGB", (8, 8)))

NOT_ASKED: dict[str, tuple[tuple[Any, ...], dict[str, Any], str]] = {
    "no picture": (("what?",), {}, r"without a picture; generate\(Prompt.ask"),
    "a path": ((__file__, "what?"), {}, r"without a picture; Image\('.*test_bad_input.py'\) shows that file"),
    "no words": ((PICTURE, " "), {}, "nothing is asked"),
    "no place": ((PICTURE, "what?"), {"running": "Q"}, "{text} stands for the question"),
    "another place": ((PICTURE, "what?"), {"running": "{text} {x}"}, "{text} stands for the question"),
    "a number": ((PICTURE, 3), {}, "strings and Image"),
    "no shot": ((PICTURE, "what?"), {"shots": [1]}, "a list of Shot"),
    "one shot": ((PICTURE, "what?"), {"shots": fl.Shot(PICTURE, answer="a")}, "a list of Shot"),
    "no source": ((fl.Image(3), "what?"), {}, "3 is no picture"),  # pyright: ignore[reportArgumentType]
    "a draw": ((PICTURE, "what?"), {"decoding": fl.Sample(math.nan)}, "temperature nan"),
    "a penalty": ((PICTURE, "what?"), {"decoding": fl.Beam(2, math.nan)}, "length penalty nan"),
}


@pytest.mark.parametrize("name", NOT_ASKED)
def test_what_cannot_be_asked_in_python(name: str, loaded: fl.LoadedModel) -> None:
    parts, options, message = NOT_ASKED[name]
    with pytest.raises(fl.LabError, match=message):
        loaded.answer(*parts, **options)


def test_other_kinds_than_are_expected_in_python(loaded: fl.LoadedModel) -> None:
    path: Any = "p.png"
    with pytest.raises(fl.LabError, match=r"'p\.png' is no prompt"):
        loaded.generate(path)
    for given in (path, [path], PICTURE):
        with pytest.raises(fl.LabError, match="a list of Image"):
            loaded.embed(given)
    with pytest.raises(fl.LabError, match="the options are a tuple"):
        fl.Rank(path)


def test_a_caption_needs_no_words(loaded: fl.LoadedModel) -> None:
    assert loaded.answer(PICTURE, running=CAPTION, max_new_tokens=1).images == 1


@pytest.mark.parametrize("verb", [["list", "models"], ["list", "metrics", "--json"], ["show", "task", "chartqa"]])
def test_a_reader_that_has_seen_enough_is_no_failure(verb: list[str]) -> None:
    command = [sys.executable, "-m", "flamingo_lab.cli", *verb]
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (0, b"")
