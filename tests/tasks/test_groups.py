"""Groups of tasks, asked whole by one command from one folder that holds each benchmark under its task's name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval_tasks import groups, okvqa_stems, task
from flamingo_lab.cli import run
from leaderboards.store import Store
from tests.families.tiny_idefics import write_checkpoint
from tests.tasks.benchmarks import BUILDERS, FILES, captions, choices, questions

assert captions and choices and questions  # they register their builders


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny-idefics"
    write_checkpoint(folder, {"max_position_embeddings": 2048}, seed=0)
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("benchmarks")
    for (name, layout), build in BUILDERS.items():
        if layout == FILES:
            (root / name).mkdir()
            build(root / name)
    return root


@pytest.fixture(autouse=True)
def without_nltk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words without their parts of speech: NLTK's data sets come from a place of their own."""
    monkeypatch.setattr(okvqa_stems, "check", lambda: None)
    monkeypatch.setattr(okvqa_stems, "tagged", lambda text: tuple((word, "") for word in text.split()))


@pytest.mark.parametrize("group", [*groups.GROUPS, groups.EVERY])
def test_a_group_is_asked_whole(
    group: str, checkpoint: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--data", str(root), "--limit", "2", "--allow-partial", "--max-new-tokens", "3", "--results", str(tmp_path)]
    assert run(["eval", "--model", str(checkpoint), "--tasks", group, *told, "--json"]) == 0
    rows: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    runs = {row["run_id"]: Store(tmp_path).run(row["run_id"]) for row in rows}
    asked = sorted((made.task, made.split) for made in runs.values())
    assert asked == sorted((one.task.name, task.split_of(one.task, one.split)) for one in groups.expand(group))
    assert all(row["n"] > 0 for row in rows if row["slice"] == "all" and row["value"] is not None)
    assert not any(row["n_errors"] for row in rows)
    waiting = {row["task"] for row in rows if row["value"] is None}
    assert waiting <= {"mmvet", "llava-bench"}, "only graded tasks have no score before a judge has seen them"
