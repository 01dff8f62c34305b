"""The pages that are made from the code are up to date, and a stale one is noticed."""

from __future__ import annotations

import hashlib
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


def test_no_generated_page_is_stale() -> None:
    found = generate(ROOT, "--check")
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("page", ["docs/reference/cli.md", "docs/models.md", "docs/tasks.md", "docs/families.md"])
def test_a_stale_page_is_named_and_written_again(checkout: Path, page: str) -> None:
    file = checkout / page
    good = file.read_text()
    file.write_text(good.replace("flamingo-tiny", "flamingo-huge").replace("easy-vqa", "hard-vqa"))
    found = generate(checkout, "--check")
    assert found.returncode == 1 and page in found.stderr
    assert generate(checkout).returncode == 0
    assert file.read_text() == good


def test_a_report_fills_its_place_in_a_page_beside_it(checkout: Path) -> None:
    (checkout / "benchmarks" / "reports" / "speed.md").write_text(REPORT)
    page = checkout / "docs" / "speed.md"
    page.write_text("before\n\n<!-- begin: report speed -->\nold\n<!-- end -->\n\nafter\n")
    assert generate(checkout).returncode == 0
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n")
    assert "| plain | 2.0 |" in text and "another" not in text and "old" not in text
    assert "(../benchmarks/reports/speed.md)" in text


def test_a_report_that_is_not_there_is_said_to_be_missing(checkout: Path) -> None:
    page = checkout / "docs" / "speed.md"
    page.write_text("<!-- begin: report speed -->\n<!-- end -->\n")
    assert generate(checkout).returncode == 0
    assert "Not measured yet" in page.read_text()


def test_an_unknown_mark_is_refused(checkout: Path) -> None:
    (checkout / "docs" / "speed.md").write_text("<!-- begin: weather -->\n<!-- end -->\n")
    found = generate(checkout)
    assert found.returncode == 1 and "weather" in found.stderr


def test_the_readmes_picture_is_of_the_bundled_weights() -> None:
    weights = (BUNDLED / "flamingo-tiny" / "model.safetensors").read_bytes()
    (named,) = re.findall(r"<!-- weights (\w+) -->", PICTURE.read_text(encoding="utf-8"))
    assert named == hashlib.sha256(weights).hexdigest(), "other weights: draw it again with python docs/picture.py"


def test_the_readmes_picture_stands_alone() -> None:
    text = PICTURE.read_text(encoding="utf-8")
    ElementTree.fromstring(text)
    assert set(re.findall(r"https?://[^\"' )]+", text)) == {"http://www.w3.org/2000/svg"}
