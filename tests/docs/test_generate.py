"""Pages that are made from the code: a stale one is noticed and written again, and those here are up to date."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from flamingo_lab.family import BUNDLED
from tests.folders import ROOT

PICTURE = ROOT / "docs" / "pictures" / "eval.svg"

WRITTEN = ["docs/reference/cli.md", "docs/models.md", "docs/tasks.md", "docs/families.md"]

REPORT = """\
# Speed

Measured somewhere.

| case | seconds |
| --- | ---: |
| plain | 2.0 |

| another | table |
| --- | --- |
"""


def generate(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the generator of a checkout on the code of this one."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(root / "docs" / "generate.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The documents, copied to where they may be changed."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copytree(ROOT / "benchmarks", tmp_path / "benchmarks")
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path


def test_stale_pages_are_named_and_written_again_and_reports_fill_their_places(checkout: Path) -> None:
    files = [checkout / page for page in WRITTEN]
    good = [file.read_text() for file in files]
    for file, text in zip(files, good, strict=True):
        file.write_text(text.replace("flamingo-tiny", "flamingo-huge").replace("easy-vqa", "hard-vqa"))
    (checkout / "benchmarks" / "reports" / "speed.md").write_text(REPORT)
    measured, missing = checkout / "docs" / "measured.md", checkout / "docs" / "missing.md"
    measured.write_text("before\n\n<!-- begin: report speed -->\nold\n<!-- end -->\n\nafter\n")
    missing.write_text("<!-- begin: report weather -->\n<!-- end -->\n")

    found = generate(checkout, "--check")
    assert found.returncode == 1
    assert {page for page in WRITTEN if page in found.stderr} == set(WRITTEN)

    assert generate(checkout).returncode == 0
    assert [file.read_text() for file in files] == good
    text = measured.read_text()
    assert text.startswith("before\n") and text.endswith("after\n")
    assert "| plain | 2.0 |" in text and "another" not in text and "old" not in text
    assert "(../benchmarks/reports/speed.md)" in text
    assert "Not measured yet" in missing.read_text()


def test_an_unknown_mark_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs")  # pyright: ignore[reportUnknownMemberType]
    generator = importlib.import_module("generate")
    with pytest.raises(SystemExit, match=r"speed.md: weather .* is nothing that can be written here"):
        generator.with_parts("<!-- begin: weather -->\n<!-- end -->\n", Path("speed.md"))


def test_the_readmes_picture_is_of_the_bundled_weights() -> None:
    weights = (BUNDLED / "flamingo-tiny" / "model.safetensors").read_bytes()
    (named,) = re.findall(r"<!-- weights (\w+) -->", PICTURE.read_text(encoding="utf-8"))
    assert named == hashlib.sha256(weights).hexdigest(), "other weights: draw it again with python docs/picture.py"


def test_the_readmes_picture_stands_alone() -> None:
    text = PICTURE.read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert set(re.findall(r"https?://[^\"' )]+", text)) == {"http://www.w3.org/2000/svg"}
