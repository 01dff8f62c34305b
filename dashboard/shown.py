"""Shows a tree of elements on the page."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from streamlit.components.v2 import component

from dashboard.tree import Element

if TYPE_CHECKING:
    from streamlit.components.v2.types import ComponentRenderer

ASSETS = Path(__file__).parent / "assets"


@cache
def _component() -> ComponentRenderer:
    css, js = ((ASSETS / f"shown.{ending}").read_text(encoding="utf-8") for ending in ("css", "js"))
    return component("flab.shown", css=css, js=js)


def show(tree: Element, key: str) -> None:
    """Put the tree on the page. `key` is its own among all that the page shows."""
    _component()(key=key, data=tree.as_json())
