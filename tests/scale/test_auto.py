"""`--ray auto`: a cluster of its own for one command, and the result of the command without it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from leaderboards.store import Store
from tests.folders import ROOT

COMMAND = ["eval", "--model", "flamingo-tiny", "--tasks", "easy-vqa", "--num-fewshot", "4", "--limit", "40", "--json"]


def test_two_replicas_on_this_machine_give_the_same_result(tmp_path: Path) -> None:
    said: dict[str, subprocess.CompletedProcess[str]] = {}
    for name, options in {"many": ["--ray", "auto", "--replicas", "2"], "one": []}.items():
        command = [sys.executable, "-m", "flamingo_lab.cli", *COMMAND, "--results", str(tmp_path / name), *options]
        said[name] = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert said[name].returncode == 0, said[name].stderr
    # Ray says much; on stdout are results alone.
    assert all(line.startswith("{") for line in said["many"].stdout.splitlines())
    assert re.search(r"2 replicas with \d+ cores? each on 1 node · http://127\.0\.0\.1:\d+", said["many"].stderr)
    (many,), (one,) = Store(tmp_path / "many").runs(), Store(tmp_path / "one").runs()
    assert (many.run_id, many.scores, many.replicas) == (one.run_id, one.scores, 2)
    answers = [
        Store(tmp_path / name).samples().order("sample_id").project("sample_id, answer_raw").fetchall() for name in said
    ]
    assert answers[0] == answers[1]
