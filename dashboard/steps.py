"""A guided search on its picture: a slider over its steps, and the queue."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboard import address, boxes, seen
from dashboard.numbers import MISSING, or_why
from dashboard.results import Results
from dashboard.shown import show as put
from dashboard.tree import Element, cut, element, link


def show(results: Results, own: tuple[str, str], searches: Sequence[boxes.Search]) -> None:
    """A guided search step by step: where it looked, and what the queue held."""
    at = 0
    if len(searches) > 1:
        numbers = [str(number) for number in range(len(searches))]
        at = int(address.one_of("Searched for", "search", numbers, says=lambda one: searches[int(one)].target))
    search = searches[at]
    last = len(search.steps)
    step = min(address.number("step") or last, last)
    looked = [one.box for one in search.steps[:step]]
    found = list(search.found) if step == last else []
    put(element("div", seen.whole(results.sources, *own, [*looked, *found], step - 1), seen.key(found)), "search")
    if last > 1:
        st.session_state["address.step"] = step
        st.slider("Step", 1, last, key="address.step", on_change=_keep_step)
    put(_queue(search, step), "queue")


def _keep_step() -> None:
    st.query_params["step"] = str(st.session_state["address.step"])


def _queue(search: boxes.Search, now: int) -> Element:
    head = element(
        "tr", [element("th", name, scope="col") for name in ("step", "level", "priority", "confidence", "cue")]
    )
    rows = [
        element(
            "tr",
            element("td", link(address.here("samples", step=number), str(number)), data_label="step"),
            element("td", str(step.level), data_label="level"),
            element("td", or_why(_two(step.priority), "the search begins here"), data_label="priority"),
            element("td", or_why(_two(step.confidence), "the search does not record it"), data_label="confidence"),
            element("td", cut(step.cue, 80), data_label="cue"),
            kind="current" if number == now else None,
        )
        for number, step in enumerate(search.steps, 1)
    ]
    said = "found" if search.is_found else "not found"
    title = element("h3", f"Search for {search.target}: {said} in {len(search.steps)} steps, in the queue's order")
    return element("div", title, element("table", element("thead", head), element("tbody", rows), kind="cards"))


def _two(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"
