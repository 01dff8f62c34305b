"""The combined model on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flamingo_lab.cli import run
from leaderboards.store import Store
from tests.search.tiny_seal import PARTS, needs_goldens


def test_seal_is_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "models", "--json"]) == 0
    listed = {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert listed["seal"]["from"] == "seal_vqa_7b + seal_vsm_7b"
    assert listed["seal"]["parameters"] == listed["seal_vqa_7b"]["parameters"] + listed["seal_vsm_7b"]["parameters"]
    assert run(["show", "model", "seal", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["made of"] == {"vqa": "seal_vqa_7b", "vsm": "seal_vsm_7b"}


def test_a_misspelt_name_finds_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["eval", "--model", "seall", "--tasks", "easy-vqa"]) == 2
    assert "did you mean seal" in capsys.readouterr().err


@needs_goldens
def test_an_evaluation_keeps_what_each_search_did(tmp_path: Path) -> None:
    folders = [word for part, where in PARTS.items() for word in (f"--{part.replace('_', '-')}", str(where))]
    asked = ["eval", "--model", "seal", *folders, "--tasks", "easy-vqa", "--limit", "3", "--dtype", "float32"]
    assert run([*asked, "--results", str(tmp_path)]) == 0
    (record,) = Store(tmp_path).runs()
    assert (record.model, record.family, record.n, record.n_errors) == ("seal", "seal", 3, 0)
    lines = (tmp_path / "runs" / record.run_id / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    assert all("first_answer" in json.loads(line)["trace"] for line in lines)
