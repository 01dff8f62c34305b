"""The authors' own scores beside the cells of the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping

from dashboard.tree import Element, element
from leaderboards.entrants import Column
from leaderboards.ranking import Cell, Matrix
from leaderboards.reported import Reported, beside
from leaderboards.tasks import Task


def _found(cell: Cell, column: Column) -> list[Reported]:
    """The authors' own scores beside a cell."""
    return [one for one in beside(cell.run) if (one.metric, one.slice) == (column.name, column.slice)]


def under(cell: Cell, column: Column) -> Element | None:
    """The authors' score under a cell, and how far the measured one is from it."""
    found = _found(cell, column)
    if not found:
        return None
    one = found[0]
    difference = f"{one.difference:+.1f}".replace("-", "−")
    said = f"published {one.reported:g} ({difference}{', differs' if one.differences else ''})"
    return element("div", said, kind="thin", title="; ".join(one.differences) or one.published.protocol)


def listed(held: Matrix, tasks: Mapping[Task, str]) -> Element:
    """Where the published scores come from, and all in which they are known to differ."""
    rows = [
        element(
            "tr",
            element("td", f"{row.entrant.model}, {row.entrant.num_fewshot} shots", kind="first"),
            element("td", tasks[column.task, column.split], data_label="task"),
            element("td", f"{one.measured:.1f}", kind="number", data_label="measured"),
            element("td", f"{one.reported:g}", kind="number", data_label="published"),
            element("td", "; ".join(one.differences) or "nothing known", kind="small full", data_label="what differs"),
            element("td", one.published.protocol or "not stated", kind="small grey full", data_label="prompt there"),
            element("td", one.published.source or "from memory", kind="small grey full", data_label="source"),
        )
        for row in held.rows
        for column, cell in row.cells.items()
        for one in _found(cell, column)
    ]
    if not rows:
        return element("p", "None of these models has a published score on these tasks.", kind="grey")
    names = ("model", "task", "measured", "published", "what differs", "prompt there", "source")
    number = {"measured", "published"}
    head = element(
        "tr", [element("th", name, kind="number" if name in number else None, scope="col") for name in names]
    )
    table_ = element("table", element("thead", head), element("tbody", rows), kind="cards")
    return element("div", element("h3", "Published beside measured"), element("div", table_, kind="scroll"))
