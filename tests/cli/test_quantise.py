"""`flab quantise`: a copy that is there wholly or not at all."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flamingo_lab as fl
from flamingo_lab.cli import run
from flamingo_lab.quant import copy
from tests.families.tiny_idefics import write_checkpoint
from tests.folders import ROOT


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny"
    write_checkpoint(path, {}, seed=5)
    return path


def told(capsys: pytest.CaptureFixture[str], folder: Path, to: Path, *options: str) -> str:
    """The one line that a command which is refused ends with; nothing is left beside what was there."""
    before = {path for path in (to.parent, to) if path.is_dir() for path in path.iterdir()}
    assert run(["quantise", str(folder), "--to", str(to), *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert {path for path in (to.parent, to) if path.is_dir() for path in path.iterdir()} == before
    return err


def test_a_copy_is_written_and_loaded(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "tiny-int4"
    assert run(["quantise", str(folder), "--to", str(to), "--quant", "int4", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    files = sum(file.stat().st_size for file in to.glob("*.safetensors"))
    assert (facts["folder"], facts["quantisation"]) == (str(to), "int4")
    assert 0 < facts["bytes"] < files < facts["bytes published"]
    model = fl.load(to)
    assert facts["matrices"] == sum("QuantisedLinear" in type(one).__name__ for one in model.vlm.modules())
    assert list(tmp_path.iterdir()) == [to]


def test_a_run_with_a_copy_is_recorded_with_its_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "copy"
    assert run(["quantise", "flamingo-tiny", "--to", str(to), "--quant", "int8"]) == 0
    results = tmp_path / "results"
    asked = ["eval", "--tasks", "easy-vqa", "--limit", "4", "--results", str(results), "--model"]
    assert run([*asked, str(to)]) == 0
    assert run([*asked, "flamingo-tiny", "--quant", "int8"]) == 0
    assert run([*asked, "flamingo-tiny"]) == 0
    records = [json.loads(file.read_text()) for file in (results / "runs").glob("*/run.json")]
    assert sorted(str(record["quantisation"]) for record in records) == ["None", "int8", "int8"]
    assert len({record["model_digest"] for record in records}) == 3


def test_people_are_told_in_lines(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["quantise", str(folder), "--to", str(tmp_path / "copy"), "--quant", "int8"]) == 0
    out, err = capsys.readouterr()
    assert "matrices" in out and "KiB" in out and err == ""


def test_flab_check_reads_a_copy(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "copy"
    assert run(["quantise", str(folder), "--to", str(to), "--quant", "int8", "--json"]) == 0
    capsys.readouterr()
    assert run(["check", str(to), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loads"]


def test_a_plan_knows_the_form_of_a_copy(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "copy"
    assert run(["quantise", str(folder), "--to", str(to), "--quant", "int8"]) == 0
    planned: list[list[dict[str, Any]]] = []
    for asked in ([str(to)], [str(folder), "--quant", "int8"]):
        capsys.readouterr()
        assert run(["check", *asked, "--plan", "--device", "cpu", "--json"]) == 0
        planned.append(json.loads(capsys.readouterr().out)["choices"])
    held, asked_for = ([(one["form"], one["devices"][0]["weights"]) for one in choices] for choices in planned)
    assert held == asked_for and all("int8" in form for form, _ in held)


# What cannot be


def test_no_form(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "int8 or int4" in told(capsys, folder, tmp_path / "copy")


def test_a_form_that_is_none(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "none of int8, int4" in told(capsys, folder, tmp_path / "copy", "--quant", "nf4")


def test_a_folder_that_is_there(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "copy").mkdir()
    assert "is there already" in told(capsys, folder, tmp_path / "copy", "--quant", "int8")


def test_a_folder_in_none(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no folder" in told(capsys, folder, tmp_path / "no" / "copy", "--quant", "int8")


@pytest.mark.skipif(not Path("/proc/version").is_file(), reason="/proc is Linux's")
def test_a_folder_that_cannot_be_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["quantise", str(folder), "--to", "/proc/copy", "--quant", "int8"]) == 2
    assert "could not be written" in capsys.readouterr().err


def test_a_model_made_of_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "one by one" in told(capsys, Path("seal"), tmp_path / "copy", "--quant", "int8")


def test_a_copy_of_a_copy(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["quantise", str(folder), "--to", str(tmp_path / "one"), "--quant", "int8"]) == 0
    capsys.readouterr()
    assert "a quantised copy already" in told(capsys, tmp_path / "one", tmp_path / "two", "--quant", "int4")


def test_a_disk_that_is_full(folder: Path, tmp_path: Path) -> None:
    """A limit on the size of files, which is met as a full disk is: in the midst of writing."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    command = [sys.executable, "-m", "flamingo_lab.cli", "quantise", str(folder), "--quant", "int8", "--to"]
    done = subprocess.run(
        [*command, str(tmp_path / "copy")],
        cwd=ROOT,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        preexec_fn=limit,
    )
    assert done.returncode == 2 and "could not be written" in done.stderr and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_what_was_stopped(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(copy, "save_file", stop)
    assert run(["quantise", str(folder), "--quant", "int8", "--to", str(tmp_path / "copy")]) == 130
    assert list(tmp_path.iterdir()) == []
