"""`flab bench`: figures of a whole run, a report, and clear lines for what cannot be measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flamingo_lab.cli import run

COMMON = ("bench", "--model", "flamingo-tiny", "--task", "easy-vqa", "--limit", "12", "--num-fewshot", "2")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_figures_and_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ("--against", "transformers", "--invariance", "--repeats", "1", "--dtype", "float32", "--json")
    assert run([*COMMON, *told]) == 0
    (found,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert found["questions"] == 12
    assert found["reused"]["images_referenced"] == 36
    assert found["reused"]["prompt_tokens_computed"] < found["reused"]["prompt_tokens_asked"]
    assert sum(found["stages"].values()) == pytest.approx(1, abs=0.05)
    assert found["questions_per_second"] == pytest.approx(12 / found["seconds"])
    assert found["peak_memory"] > 100 * 2**20
    assert found["against"]["differing"] == 0
    assert found["against"]["ratio"] > 0
    assert found["flips"] == []
    report = tmp_path / "benchmarks" / "bench-flamingo-tiny-easy-vqa-2.md"
    assert "questions/s" in report.read_text()
    assert [*report.parent.iterdir()] == [report]


def test_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*COMMON, "--report", "elsewhere"]) == 0
    out = capsys.readouterr().out
    assert "2 shots, 12 questions" in out
    assert "| encode pictures |" in out
    assert Path("elsewhere/bench-flamingo-tiny-easy-vqa-2.md").is_file()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (("--task", "easy-vqa,shapes-binding"), "one task"),
        (("--task", "easy-vqb"), "did you mean easy-vqa"),
        (("--model", "openai:x"), "models that this package runs itself"),
        (("--report", "file"), "not a folder"),
    ],
)
def test_what_cannot_be_measured(told: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("")
    assert run([*COMMON, *told]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert not captured.out
    assert not Path("benchmarks").exists()
