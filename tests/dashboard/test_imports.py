"""The dashboard reads results and nothing else."""

from __future__ import annotations

import ast

from tests.folders import ROOT

FORBIDDEN = {"flamingo_lab", "eval_tasks", "torch"}


def test_the_dashboard_imports_of_ours_only_leaderboards() -> None:
    files = sorted((ROOT / "dashboard").rglob("*.py"))
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not FORBIDDEN & {name.partition(".")[0] for name in names}, file


def test_nothing_but_the_command_line_imports_the_dashboard() -> None:
    for package in ("flamingo_lab", "eval_tasks", "leaderboards"):
        for file in (ROOT / package).rglob("*.py"):
            if file.parent.name != "cli":
                assert "import dashboard" not in file.read_text() and "from dashboard" not in file.read_text(), file
