"""One command of `flab eval` in every way of running it: the same run, answers and table."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leaderboards.store import Store
from tests.folders import ROOT

COMMAND = ["eval", "--model", "flamingo-tiny", "--tasks", "easy-vqa", "--num-fewshot", "4", "--limit", "40", "--json"]

OF_THE_MACHINE = ("seconds", "questions_per_second", "created")
"""Columns of a table that are not the same twice."""


def evaluated(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flamingo_lab.cli", *COMMAND, "--results", str(folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def table(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """What a command shows, apart from times. Ray says much; on stdout are results alone."""
    assert all(line.startswith("{") for line in done.stdout.splitlines())
    rows: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    return [{name: value for name, value in row.items() if name not in OF_THE_MACHINE} for row in rows]


def answers(folder: Path) -> list[Any]:
    return Store(folder).samples().order("sample_id").project("sample_id, answer_raw").fetchall()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """The results of the command without any of the ways, and its table."""
    folder = tmp_path_factory.mktemp("plain")
    return folder, table(evaluated(folder))


@pytest.mark.parametrize(
    "options",
    ["--tensor-parallel 2", "--offload", "--ray auto --replicas 2", "--ray auto --replicas 1 --tensor-parallel 2"],
)
def test_every_way_gives_the_same_table(options: str, plain: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    done = evaluated(tmp_path, *options.split())
    assert table(done) == plain[1] != []
    assert answers(tmp_path) == answers(plain[0])
    (ours,), (one,) = Store(tmp_path).runs(), Store(plain[0]).runs()
    assert (ours.run_id, ours.scores) == (one.run_id, one.scores)
    if "--ray" in options:
        count = int(options.split()[3])
        assert ours.replicas == count
        said = rf"{count} replica{'s' * (count > 1)} with \d+ cores? each on 1 node · http://127\.0\.0\.1:\d+"
        assert re.search(said, done.stderr)
