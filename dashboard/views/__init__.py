"""The pages: each file of this folder is one, found by being there. Its name is its address.

A page has a `TITLE`, a `PLACE` in the order of all, and `show(results)`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from functools import cache
from pathlib import PurePath
from typing import Protocol, TypeAlias, cast

import streamlit as st

from dashboard.results import Results

Show: TypeAlias = Callable[[], None]


LONGEST_NAME = 32
"""Letters of a results folder's path that are shown; the rest is seen on hover."""


class Page(Protocol):
    """A module of this folder."""

    TITLE: str
    PLACE: int

    def show(self, results: Results) -> None: ...


@cache
def found() -> dict[str, Page]:
    """Every page by name, in order."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    modules = {name: cast("Page", importlib.import_module(f"{__name__}.{name}")) for name in names}
    return dict(sorted(modules.items(), key=lambda one: one[1].PLACE))


def titled(title: str, about: str, results: Results) -> None:
    """Head of a page: its title, what it is filtered to, and which results these are; the browser's title says it too."""
    st.set_page_config(page_title=" · ".join(filter(None, (title, about, "flamingo-lab"))))
    runs = len(results.runs)
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute", gap="small"):
        st.title(title, anchor=False)
        name = results.name if len(results.name) <= LONGEST_NAME else f"…/{PurePath(results.name).name}"
        st.text(
            f"results: {name} · {runs} run{'s' if runs != 1 else ''}",
            width="content",
            help=None if name == results.name else results.name,
        )
    if results.problems:
        with st.expander(f"{len(results.problems)} of the folder's runs cannot be read and are left out"):
            st.text("\n".join(results.problems))
