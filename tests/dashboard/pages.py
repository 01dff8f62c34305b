"""A page run without a browser: what it shows as text, and where its links lead."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboard import ranks
from dashboard.views import compare

NAMES = ("leaderboard", "compare", "samples", "curves", "slices", "runs")

GROUP = "some=task-1,task-2:test"
"""A group of tasks that the pages know, with its name."""

PATIENCE_SECONDS = 60.0
"""How long a page waits for what is worked out in the background: until it is."""


def opened(
    monkeypatch: pytest.MonkeyPatch,
    page: str,
    results: Path | str,
    *images: Path,
    **address: str | list[str],
) -> AppTest:
    """The page at an address, run once; it must not have raised."""
    arguments = [part for root in images for part in ("--images", str(root))]
    monkeypatch.setattr(sys, "argv", ["app.py", "--results", str(results), "--group", GROUP, *arguments])
    for module in (ranks, compare):
        monkeypatch.setattr(module, "PATIENCE_SECONDS", PATIENCE_SECONDS)

    def script(name: str) -> None:
        from dashboard import app

        app.guarded(name)()

    at = AppTest.from_function(script, args=(page,), default_timeout=60)
    for name, value in address.items():
        at.query_params[name] = value
    return run(at)


def run(at: AppTest) -> AppTest:
    at.run()
    assert not at.exception, at.exception
    return at


def trees(at: AppTest) -> list[Any]:
    """The trees that the page has put into the browser."""
    return [json.loads(one.proto.json) for one in at.get("bidi_component")]


def nodes(at: AppTest) -> Iterator[Any]:
    """Every element of every tree."""
    waiting = trees(at)
    while waiting:
        node = waiting.pop()
        if not isinstance(node, str):
            yield node
            waiting += node[2]


def said(at: AppTest) -> str:
    """All text of the page."""

    def text(node: Any) -> str:
        return node if isinstance(node, str) else " ".join(text(child) for child in node[2])

    plain = [one.value for kind in (at.title, at.text, at.code, at.subheader) for one in kind]
    return " ".join([*plain, *(text(tree) for tree in trees(at))])


def links(at: AppTest) -> dict[str, str]:
    """Where links lead, by their text."""
    found: dict[str, str] = {}
    for tag, attributes, children in nodes(at):
        if tag == "a":
            found[" ".join(child for child in children if isinstance(child, str))] = attributes["href"]
    return found


def every(at: AppTest, kind: str) -> list[Any]:
    """The elements of a class."""
    return [node for node in nodes(at) if kind in node[1].get("class", "").split()]


def shown_at(at: AppTest, name: str) -> str:
    """A parameter of the page's address."""
    held = at.query_params[name]
    return held if isinstance(held, str) else held[0]
