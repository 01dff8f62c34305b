"""What stands in the documents is true: links lead somewhere, commands are understood, examples run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from flamingo_lab.cli import app, run
from leaderboards.store import Store
from tests.docs.pages import PAGES, Block, blocks, commands, flab_commands, name, prose
from tests.folders import ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)

RUN_HERE = [ROOT / "README.md", *(ROOT / "docs" / f"{page}.md" for page in ("tutorial", "few_shot", "evaluate"))]
"""Pages whose examples are run, each in one folder from top to bottom."""

FEW = "40"
"""Questions of an evaluation in an example, whatever the page says."""


def anchors(page: Path) -> set[str]:
    """The names that a page's headings get."""
    found = HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        file, _, heading = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not heading or heading in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_lines_of_pages_fit_a_review(page: Path) -> None:
    text = prose(page)
    if "Written by docs/generate.py" in text:
        return
    long = [line for line in text.splitlines() if len(line) > 150 and not line.startswith("|")]
    assert not long


def understood(words: list[str]) -> None:
    """Parse a `flab` command as the command line would, without running it."""
    command: Any = typer.main.get_command(app)
    rest = words[1:]
    while hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_context(command.name, rest)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_flab_command_is_understood(page: Path) -> None:
    for words in flab_commands(page):
        understood(words)


@pytest.mark.parametrize("wrong", [["eval", "--modell", "flamingo-tiny"], ["evaluate"], ["list", "model"], ["eval"]])
def test_a_wrong_command_would_be_noticed(wrong: list[str]) -> None:
    with pytest.raises((KeyError, typer.TyperException)):
        understood(["flab", *wrong])


def is_quick(words: list[str]) -> bool:
    """Whether a `flab` command of a page can be run here: it names no model but the bundled one, and no other data."""
    if words[1] in ("train", "score"):
        return False
    return "--model" not in words or ("flamingo-tiny" in words and "--data" not in words)


def run_block(block: Block, names: dict[str, Any]) -> None:
    """Run a Python block, or the quick commands of a shell block, in the current folder."""
    if block.language == "python":
        exec(compile(block.text, "<example>", "exec"), names)
    for words in commands(block):
        if words[0] == "flab" and is_quick(words):
            words = [Store(Path("results")).runs()[0].run_id if word == "RUN" else word for word in words]
            limit = ["--limit", FEW] if words[1] == "eval" else []
            assert run([*words[1:], *limit]) == 0, words


@pytest.mark.parametrize("page", RUN_HERE, ids=name)
def test_examples_run_from_top_to_bottom(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in blocks(page):
        run_block(block, names)


def test_the_readmes_example_prints_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = [block for block in blocks(ROOT / "README.md") if block.language == "python"]
    promised = re.findall(r"^print\(.*\)  # (.+)$", block.text, re.MULTILINE)
    run_block(block, {})
    assert promised and capsys.readouterr().out.split() == promised


def test_the_tutorial_teaches_with_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its claims: no shots, no answer; shots teach; exchanged pictures leave a guess between two words."""
    monkeypatch.chdir(tmp_path)
    values: list[float] = []
    for words in flab_commands(ROOT / "docs" / "tutorial.md"):
        if "shapes-binding" in words:
            assert run(words[1:]) == 0
            values.append(Store(Path("results")).runs()[0].scores[0].value or 0.0)
    without, taught, exchanged = values
    assert without < 0.1 and taught > 0.8 and 0.3 < exchanged < 0.7


MAKE = re.compile(r"\bmake ([a-z-]+)")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    in_blocks = [words[1] for block in blocks(page) for words in commands(block) if words[0] == "make"]
    in_prose = [found for text in re.findall(r"`([^`]+)`", prose(page)) for found in MAKE.findall(text)]
    assert {*in_blocks, *in_prose} <= targets


def test_no_page_names_a_place_on_some_machine() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for place in ("/work/", "/root/", "/home/", "/opt/"):
            assert place not in text, f"{page}: {place}"
