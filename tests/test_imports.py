"""Imports go one way, and light things stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.folders import ROOT

PACKAGES = ("flamingo_lab", "eval_tasks", "leaderboards", "dashboard")

ALLOWED = {
    "flamingo_lab": {"flamingo_lab"},
    "eval_tasks": {"eval_tasks", "flamingo_lab.prompt", "flamingo_lab.model", "flamingo_lab.errors", "leaderboards"},
    "leaderboards": {"leaderboards"},
    "dashboard": {"dashboard", "leaderboards"},
}
"""What the files of a package may import of ours. `flamingo_lab.cli` may import everything."""

FORBIDDEN = {"eval_tasks": {"torch"}, "leaderboards": {"torch"}, "dashboard": {"torch"}}


def files() -> list[Path]:
    return sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """Every module that a file imports anywhere, with the names taken from packages."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = (ROOT / whole.replace(".", "/")).is_dir() or (
                    ROOT / f"{whole.replace('.', '/')}.py"
                ).is_file()
                yield whole if is_module else str(node.module)


def is_within(module: str, houses: set[str]) -> bool:
    return any(module == house or module.startswith(f"{house}.") for house in houses)


@pytest.mark.parametrize("file", files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_one_way(file: Path) -> None:
    parts = file.relative_to(ROOT).parts
    is_cli = parts[:2] == ("flamingo_lab", "cli")
    for module in imported(file):
        if is_within(module, set(PACKAGES)) and not is_cli:
            assert is_within(module, ALLOWED[parts[0]]), f"{module} is not for {parts[0]}"
            assert not is_within(module, {"flamingo_lab.cli"}), "nothing imports the command line"
        assert not is_within(module, FORBIDDEN.get(parts[0], set())), f"{module} in {parts[0]}"


ALONE = "flamingo_lab.families"
"""The files of this package are data of one family each; what two of them need is in `layouts`."""


def test_no_family_imports_another() -> None:
    for file in sorted((ROOT / ALONE.replace(".", "/")).glob("[!_]*.py")):
        others = [module for module in imported(file) if is_within(module, {ALONE})]
        assert not others, f"{file.name} imports {others}"


LIGHT = {
    "flamingo_lab": "import flamingo_lab",
    "flab --help": "from flamingo_lab.cli import run; run(['--help'])",
    "flab list models": "from flamingo_lab.cli import run; run(['list', 'models'])",
    "flab list tasks": "from flamingo_lab.cli import run; run(['list', 'tasks'])",
}

LIMIT_SECONDS = 0.4
LOOP_SECONDS = 0.12
"""What a loop of two million additions takes on the machine that the limit is for; a slower one is given as much more."""


@pytest.mark.parametrize("what", LIGHT)
def test_light_commands_need_no_torch_and_answer_at_once(what: str) -> None:
    """CPU seconds of the whole process, so that a busy machine does not decide; the best of three."""
    watch = (
        f"import sys, resource, time\n{LIGHT[what]}\n"
        "heavy = {'torch', 'numpy', 'duckdb', 'pyarrow', 'scipy', 'PIL'} & sys.modules.keys()\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "began, number = time.process_time(), 0\n"
        "for one in range(2_000_000): number += one\n"
        "print(used.ru_utime + used.ru_stime, time.process_time() - began, *sorted(heavy), file=sys.stderr)"
    )
    found = [
        subprocess.run([sys.executable, "-c", watch], cwd=ROOT, capture_output=True, check=True).stderr.split()
        for _ in range(3)
    ]
    assert all(not heavy for _, _, *heavy in found), found
    used, loop = (min(float(one[place]) for one in found) for place in (0, 1))
    assert used < LIMIT_SECONDS * max(1.0, loop / LOOP_SECONDS), found
