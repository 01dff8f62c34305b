"""Plots in the pages' own look. Names are text: what could be markup to Plotly is escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from dashboard.colours import is_dark

HEIGHT_PX = 430
CONFIG: dict[str, Any] = {"displayModeBar": False, "responsive": True}

SHOWN_SHOTS = (0, 1, 2, 4, 8, 16, 32, 64, 128)


class Point(NamedTuple):
    """A score at a place on the x-axis, with its 95 % interval where there is one, and the run behind it."""

    x: float
    y: float
    low: float | None
    high: float | None
    run_id: str
    about: str


class Line(NamedTuple):
    """A model's points: `means` are joined, `single` are the runs behind them."""

    name: str
    colour: str
    means: Sequence[Point]
    single: Sequence[Point]


def shots_place(shots: int) -> float:
    """Where a number of shots stands on an axis of powers of two that begins with none."""
    return math.log2(shots) if shots > 0 else -1.0


def curves(lines: Sequence[Line], x_title: str, y_title: str) -> go.Figure:
    """Scores against shots: a line a model, with a band."""
    figure = go.Figure()
    for line in lines:
        if len(line.means) > 1 and all(point.low is not None for point in line.means):
            there = [*line.means, *reversed(line.means)]
            ends = [point.high for point in line.means] + [point.low for point in reversed(line.means)]
            figure.add_scatter(
                x=[point.x for point in there],
                y=ends,
                fill="toself",
                fillcolor=_faint(line.colour, 0.14),
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
                mode="lines",
            )
    named: set[str] = set()
    for line in lines:
        if len(line.single) > len(line.means):
            _scatter(figure, line, line.single, mode="markers", marker={"size": 7, "opacity": 0.4}, showlegend=False)
        lone = len(line.means) == 1
        is_new = line.name not in named
        named.add(line.name)
        _scatter(figure, line, line.means, mode="lines+markers", marker={"size": 9}, has_errors=lone, showlegend=is_new)
    places = sorted({point.x for line in lines for point in line.means})
    shown = [shots for shots in SHOWN_SHOTS if places[0] <= shots_place(shots) <= places[-1]]
    ticks = {"tickvals": [shots_place(one) for one in shown], "ticktext": [str(one) for one in shown]}
    return _finished(figure, x_title, y_title, {"type": "linear", "zeroline": False, **ticks})


def scatter(lines: Sequence[Line], front: Sequence[Point], x_title: str, y_title: str, *, is_log: bool) -> go.Figure:
    """Scores against a size or a cost, with intervals; `front` are the points that nothing beats in both."""
    figure = go.Figure()
    if len(front) > 1:
        figure.add_scatter(
            x=[point.x for point in front],
            y=[point.y for point in front],
            mode="lines",
            line={"shape": "hv", "width": 1.5, "dash": "dot", "color": _grey()},
            name="nothing cheaper is better",
            hoverinfo="skip",
        )
    for line in lines:
        _scatter(figure, line, line.single, mode="markers", marker={"size": 10}, has_errors=True)
    return _finished(figure, x_title, y_title, {"type": "log" if is_log else "linear"})


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats: less is better along x, more along y."""
    front: list[Point] = []
    for point in sorted(points, key=lambda one: (one.x, -one.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def _scatter(figure: go.Figure, line: Line, points: Sequence[Point], *, has_errors: bool = False, **style: Any) -> None:
    errors = None
    if has_errors:
        errors = {
            "type": "data",
            "symmetric": False,
            "array": [(point.high or point.y) - point.y for point in points],
            "arrayminus": [point.y - (point.low if point.low is not None else point.y) for point in points],
            "thickness": 1.5,
            "width": 0,
        }
    marker = {"color": line.colour, **style.pop("marker", {})}
    figure.add_scatter(
        x=[point.x for point in points],
        y=[point.y for point in points],
        name=html.escape(line.name, quote=False),
        customdata=[point.run_id for point in points],
        text=[html.escape(point.about, quote=False) for point in points],
        hovertemplate="%{text}<extra></extra>",
        line={"color": line.colour, "width": 2},
        marker=marker,
        error_y=errors,
        **style,
    )


def _finished(figure: go.Figure, x_title: str, y_title: str, x_axis: dict[str, Any]) -> go.Figure:
    grid = "rgba(128,128,128,0.2)"
    axis: dict[str, Any] = {
        "gridcolor": grid,
        "linecolor": _grey(),
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 4,
    }
    text = "#E8EAED" if is_dark() else "#1D2025"
    figure.update_layout(
        height=HEIGHT_PX,
        margin={"l": 56, "r": 12, "t": 12, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "Inter, system-ui, Arial, sans-serif", "size": 13, "color": text},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.01, "x": 0, "title": None},
        hovermode="closest",
        hoverlabel={"align": "left"},
        xaxis={**axis, **x_axis, "title": {"text": html.escape(x_title, quote=False), "font": {"size": 13}}},
        yaxis={**axis, "title": {"text": html.escape(y_title, quote=False), "font": {"size": 13}}},
    )
    return figure


def _grey() -> str:
    return "#9AA0A8" if is_dark() else "#6B7078"


def _faint(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
