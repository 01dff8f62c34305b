"""The forest plot of a comparison: a line a task, then its slices, on one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dashboard import address
from dashboard.numbers import MISSING, or_why, scored
from dashboard.tree import Element, Node, element, link
from leaderboards.compare import Comparison, Difference
from leaderboards.entrants import Entrant, Model, model
from leaderboards.records import ALL, SHARE
from leaderboards.tasks import Task


class Line(NamedTuple):
    """A line of the forest plot."""

    task: Task
    other: Entrant
    found: Difference


def forest(
    lines: Sequence[Line],
    compared: Mapping[Task, Mapping[Entrant, Comparison]],
    names: Mapping[Entrant, str],
    tasks: Mapping[Task, str],
    colour: Mapping[Model, str],
) -> Element:
    """A line a task, then its slices: the difference with its interval, on one axis, and what could be seen at all."""
    reach = _reach([line.found for line in lines if line.found.unit == SHARE])
    # Points of one task are not those of another: each task of such has an axis of its own.
    reaches = {
        (task, unit): reach if unit == SHARE else _reach([line.found for line in lines if line.task == task])
        for task, unit in {(line.task, line.found.unit) for line in lines}
    }
    several = len({line.other for line in lines}) > 1
    rows = [
        _row(
            line, tasks[line.task], names[line.other] if several else None, reaches[line.task, line.found.unit], colour
        )
        for line in lines
    ]
    notes = dict.fromkeys(
        note for task, held in compared.items() for one in held.values() for note in _notes(one, tasks[task])
    )
    kinds = "; ".join(dict.fromkeys(line.found.interval for line in lines if line.found.interval))
    legend = (
        f"Dot and line: paired difference with its 95 % interval ({kinds or 'none'}). Grey band: differences that so many "
        "questions would mostly not show (80 % power). Sure: after Holm's correction."
    )
    kind = "cards forest several" if several else "cards forest"
    table = element("table", element("thead", _heads(several, reach)), element("tbody", rows), kind=kind)
    return element(
        "div",
        element("div", table, kind="scroll"),
        element("p", legend, kind="grey small wide"),
        element("p", "Not alike beside the model: " + "; ".join(notes), kind="small") if notes else None,
    )


def _row(line: Line, task: str, other: str | None, reach: float, colour: Mapping[Model, str]) -> Element:
    """A task or slice; `other`: what the compared model is called, where there are several."""
    one = line.found
    is_whole = one.slice == ALL
    title = task if is_whole else one.slice.replace("=", ": ", 1)
    at = address.here("compare", task=task, slice=None if is_whole else one.slice, skip=None, prompt=None)
    cells: list[Element | None] = [
        element(
            "td",
            link(at, title, title="the questions on which they differ"),
            kind=f"first {'whole-task' if is_whole else 'part'}",
        ),
        element("td", other, kind="thin full", data_label="compared with base") if other else None,
        *(
            element("td", or_why(scored(value, one.unit), one.reason), kind="number", data_label=name)
            for name, value in (("base", one.a), ("compared", one.b))
        ),
        element(
            "td",
            _plot(one, reach, colour[model(line.other)]),
            kind="plot",
            data_label="−, 0, +",
        ),
        element("td", _points(one), kind="nowrap full", data_label="difference", title=one.interval or None),
        element(
            "td",
            f"{one.wins:,} / {one.losses:,} / {one.ties:,}",
            kind="nowrap full",
            data_label="won / lost / equal",
        ),
        element("td", _sure(one), kind="thin full", data_label="sure?"),
    ]
    return element("tr", *cells, kind="slice" if not is_whole else None)


def _reach(found: Sequence[Difference]) -> float:
    """How far an axis goes to both sides of 0."""
    held = [end for one in found for end in (one.difference, one.low, one.high, one.detectable) if end is not None]
    return 1.08 * max(map(abs, held), default=1.0) or 1.0


def _heads(several: bool, reach: float) -> Element:
    """Column heads; that of the plot is its axis."""
    ticks = [element("span", f"{100 * end:+.0f}".replace("-", "−").replace("+0", "0")) for end in (-reach, 0.0, reach)]
    heads = [element("th", "task", scope="col"), element("th", "model", scope="col") if several else None]
    heads += [element("th", name, scope="col", kind="number") for name in ("base", "compared")]
    heads += [element("th", element("div", ticks, kind="ticks"), scope="col", aria_label="difference, on an axis")]
    heads += [element("th", name, scope="col") for name in ("points [95 %]", "won / lost / equal", "sure?")]
    return element("tr", [one for one in heads if one is not None])


def _notes(one: Comparison, task: str) -> list[str]:
    said = [*one.notes]
    if one.n_only_a or one.n_only_b:
        said.append(f"{task}: {one.n_only_a + one.n_only_b:,} questions stand in one run only and are left out")
    if one.n_unanswered:
        said.append(f"{task}: {one.n_unanswered:,} questions lack an answer and are left out")
    if one.n_changed:
        said.append(f"{task}: {one.n_changed:,} questions have other targets")
    return said


def _plot(one: Difference, reach: float, colour: str) -> Element:
    """The difference on an axis from minus to plus `reach`; that of points, which no head names, says so."""
    if one.difference is None:
        return element("span", one.reason or "", kind="thin")
    low, high = (one.difference if end is None else end for end in (one.low, one.high))

    def at(value: float) -> str:
        return f"{min(1.0, max(0.0, 0.5 + value / (2 * reach))):.4f}"

    seen_from = one.detectable or 0.0
    axis = element(
        "span",
        element("span", kind="band", __low=at(-seen_from), __high=at(seen_from)),
        element("span", kind="zero", __at="0.5"),
        element("span", kind="interval", __low=at(low), __high=at(high)),
        element("span", kind="dot" if one.is_sure else "dot open", __at=at(one.difference)),
        kind="axis long",
        __colour=colour,
        aria_hidden="true",
    )
    own = element("div", f"its own axis, ±{reach:,.1f} points", kind="thin") if one.unit != SHARE else None
    return element("div", axis, own)


def _points(one: Difference) -> list[Node]:
    if one.difference is None:
        return [or_why(MISSING, one.reason)]
    said: list[Node] = [element("b", _signed(one.difference, one.unit))]
    if one.low is not None and one.high is not None:
        said.append(f" [{_signed(one.low, one.unit)}, {_signed(one.high, one.unit)}]")
    return said


def _signed(value: float, unit: str) -> str:
    shown = 100 * value if unit == SHARE else value
    return f"{shown:+.1f}".replace("-", "−")


def _sure(one: Difference) -> str:
    if one.p_adjusted is None:
        return one.reason.partition(":")[0] or "no test"
    p = f"p {one.p_adjusted:.3f}" if one.p_adjusted >= 0.001 else "p < 0.001"
    return f"{'yes' if one.is_sure else 'no'}, {p} ({one.test})"
