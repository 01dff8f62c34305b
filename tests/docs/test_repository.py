"""The repository's own files agree with each other: dependencies, versions, make."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

from tests.folders import ROOT

PACKAGES = ("flamingo_lab", "eval_tasks", "leaderboards", "dashboard")
OURS = {*PACKAGES, "tests", "benchmarks", *(file.stem for file in (ROOT / "benchmarks").glob("*.py"))}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def named(requirements: list[str]) -> set[str]:
    """The distributions that requirements name."""
    return {normal(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in requirements}


def core() -> set[str]:
    return named(project()["dependencies"])


def extra(*, dev: bool) -> set[str]:
    """What the extras name, that of developers included or not."""
    extras = project()["optional-dependencies"].items()
    return {name for extra, listed in extras if dev or extra != "dev" for name in named(listed)}


def imported(folders: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    """Every import of something that is neither ours nor Python's."""
    for file in sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            modules: list[str] = []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module]
            for module in {module.partition(".")[0] for module in modules}:
                if module not in OURS and module not in sys.stdlib_module_names:
                    yield file, module


@pytest.mark.parametrize("folders", [PACKAGES, ("tests", "benchmarks", "docs", "examples")])
def test_every_import_is_a_declared_dependency(folders: tuple[str, ...]) -> None:
    allowed = core() | extra(dev=folders != PACKAGES)
    homes = packages_distributions()
    for file, module in imported(folders):
        distributions = {normal(name) for name in homes.get(module, [module])}
        assert distributions & allowed, f"{file}: {module} is in no list of pyproject.toml"


def test_the_constraints_fix_what_the_project_names() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9.a-z]*", line) for line in lines), lines
    assert lines == sorted(lines)
    assert {line.partition("==")[0] for line in lines} == core() | extra(dev=True)


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as from a shell, even where make has started the tests."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    return subprocess.run(["make", *arguments], cwd=folder, env=outside, capture_output=True, text=True)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_alone_lists_every_target_with_what_it_does() -> None:
    shown = make(ROOT).stdout
    (phony,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {line.split()[1] for line in shown.splitlines()} == set(phony.split())


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_an_old_python_is_refused_with_what_to_do(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    old = tmp_path / "old-python"
    old.write_text(
        f"#!{sys.executable}\nimport sys\nclass Version(tuple): pass\nsys.version_info = (3, 9, 2)\nexec(sys.argv[2])\n"
    )
    old.chmod(0o755)
    found = make(tmp_path, "demo", f"PYTHON={old}")
    assert found.returncode != 0
    assert "Python 3.11 or newer is needed and this is 3.9" in found.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_benchmarks_go_on_behind_one_that_fails(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / ".venv" / ".tools-installed").touch()
    (tmp_path / "benchmarks").mkdir()
    for name, code in (("first", 1), ("second", 0), ("third", 1)):
        (tmp_path / "benchmarks" / f"{name}.py").write_text(f"print('{name} was run')\nraise SystemExit({code})\n")
    found = make(tmp_path, "bench")
    assert found.returncode != 0
    assert [line for line in found.stdout.splitlines() if "was run" in line] == [
        f"{name} was run" for name in ("first", "second", "third")
    ]
    assert "short of what is asked for: benchmarks/first.py benchmarks/third.py" in found.stderr
