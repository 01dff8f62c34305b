"""Plots in the pages' own look, as Vega-Lite draws them. Names are text, which it draws as it is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dashboard.colours import is_dark

HEIGHT_PX = 430
FONT = "Inter, system-ui, Arial, sans-serif"

SHOWN_SHOTS = (0, 1, 2, 4, 8, 16, 32, 64, 128)

POINTS = "points"
"""The selection of points, whose items have a `run_id`."""

NAMED = "named"
"""The selection of names in the legend; what has another one grows faint."""

FAR, MARGIN, MOST_DECADES = 5, 1.2, 4
"""Ratios: of the ends of an axis from which on it is logarithmic, and of the room at its ends. Then tens alone are named."""

FAINT = 0.06
CHARACTER_PX, SYMBOL_PX = 7.5, 40

Spec = dict[str, Any]


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


def curves(lines: Sequence[Line], x_title: str, y_title: str, chosen: Sequence[str]) -> Spec:
    """Scores against shots: a line a model, with a band. The points of the runs `chosen` are so from the beginning."""
    joined = [line for line in lines if len(line.means) > 1]
    banded = [line for line in joined if all(point.low is not None for point in line.means)]
    behind = [line for line in lines if len(line.single) > len(line.means)]
    dots = [*_rows(behind, "single", size=45, opacity=0.4), *_rows(lines, "means", size=80, opacity=1.0)]
    places = [point.x for line in lines for point in line.means]
    shown = [shots_place(one) for one in SHOWN_SHOTS if min(places) <= shots_place(one) <= max(places)]
    x: Spec = {
        "scale": {"domain": [min(places) - 0.15, max(places) + 0.15], "nice": False, "zero": False},
        "axis": {"values": shown, "labelExpr": "datum.value < 0 ? 0 : pow(2, datum.value)", "grid": False},
    }
    layers = [
        _layer({"type": "area", "aria": False}, _rows(banded, "means", opacity=0.14), ends=True),
        _layer({"type": "line", "strokeWidth": 2, "aria": False}, _rows(joined, "means", opacity=1.0)),
        _intervals([line for line in lines if len(line.means) == 1], "means"),
        _points(dots),
    ]
    return _finished(lines, layers, x_title, y_title, x, chosen)


def scatter(
    lines: Sequence[Line], front: Sequence[Point], x_title: str, y_title: str, tick: str, chosen: Sequence[str]
) -> Spec:
    """Scores against a size or a cost, with intervals; `front` are the points that nothing beats in both.

    tick: Vega's expression for a number beside the x-axis. `chosen` as in `curves`.
    """
    step = {"type": "line", "interpolate": "step-after", "strokeWidth": 1.5, "strokeDash": [2, 3], "color": _grey()}
    beyond = {
        "mark": step,
        "data": {"values": [{"x": point.x, "y": point.y} for point in front] if len(front) > 1 else []},
    }
    dots = _rows(lines, "single", size=100, opacity=1.0)
    x = _along([point.x for line in lines for point in line.single])
    x["axis"] |= {"labelExpr": tick, "grid": False}
    return _finished(lines, [beyond, _intervals(lines, "single"), _points(dots)], x_title, y_title, x, chosen)


def _along(values: Sequence[float]) -> Spec:
    """An axis on which values stand by their ratios, where they are far apart."""
    low, high = min(values), max(values)
    if not high > FAR * low > 0:
        return {"scale": {"zero": False}, "axis": {}}
    low, high = low / MARGIN, high * MARGIN
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(decades) <= MOST_DECADES else (1,)
    shown = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
    return {"scale": {"type": "log", "domain": [low, high], "nice": False}, "axis": {"values": shown}}


def pareto(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats: less is better along x, more along y."""
    front: list[Point] = []
    for point in sorted(points, key=lambda one: (one.x, -one.y)):
        if not front or point.y > front[-1].y:
            front.append(point)
    return front


def _rows(lines: Iterable[Line], of: str, **style: float) -> list[dict[str, Any]]:
    """A row a point; `line` tells lines of one name apart."""
    return [
        {"name": line.name, "line": number, **point._asdict(), **style}
        for number, line in enumerate(lines)
        for point in getattr(line, of)
    ]


def _layer(mark: Spec, rows: Sequence[Mapping[str, Any]], *, ends: bool = False, **encoding: Any) -> Spec:
    y: Spec = {"y": {"field": "low"}, "y2": {"field": "high"}} if ends else {}
    shade = {"field": "opacity", "type": "quantitative", "scale": None}
    encoding = {
        **y,
        "color": {"field": "name", "type": "nominal"},
        "detail": {"field": "line", "type": "nominal"},
        "opacity": {"condition": {"param": NAMED, **shade}, "value": FAINT},
        **encoding,
    }
    return {"mark": mark, "data": {"values": rows}, "encoding": encoding}


def _intervals(lines: Iterable[Line], of: str) -> Spec:
    rows = [row for row in _rows(lines, of, opacity=1.0) if row["low"] is not None and row["high"] is not None]
    return _layer({"type": "rule", "strokeWidth": 1.5, "aria": False}, rows, ends=True)


def _points(rows: Sequence[Mapping[str, Any]]) -> Spec:
    size = {"field": "size", "type": "quantitative", "scale": None}
    mark = {"type": "point", "filled": True, "strokeWidth": 2.5, "cursor": "pointer"}
    about = {"field": "about", "type": "nominal"}
    ring = {"condition": {"param": POINTS, "empty": False, "value": _text()}, "value": None}
    return _layer(mark, rows, size=size, tooltip=about, description=about, stroke=ring) | {"name": POINTS}


def _finished(
    lines: Sequence[Line], layers: Sequence[Spec], x_title: str, y_title: str, x: Spec, chosen: Sequence[str]
) -> Spec:
    colours = {line.name: line.colour for line in lines}
    column = CHARACTER_PX * max(map(len, colours), default=0) + SYMBOL_PX
    text = _text()
    legend = {
        "orient": "top",
        "title": None,
        "columns": {"expr": f"max(1, floor(width / {column:g}))"},
        "labelLimit": 330,
        "symbolType": "circle",
        "symbolOpacity": 1,
    }
    scale = {"domain": [*colours], "range": [*colours.values()]}
    return {
        "height": HEIGHT_PX,
        "params": [
            {
                "name": POINTS,
                "select": {"type": "point", "fields": ["run_id"], "toggle": "event.shiftKey"},
                "views": [POINTS],
                "value": [{"run_id": run_id} for run_id in chosen],
            },
            {
                "name": NAMED,
                "select": {"type": "point", "fields": ["name"], "toggle": "true"},
                "bind": "legend",
                "views": [POINTS],
            },
        ],
        "encoding": {
            "x": {"field": "x", "type": "quantitative", "title": x_title, **x},
            "y": {"field": "y", "type": "quantitative", "title": y_title, "scale": {"zero": False}},
            "color": {"field": "name", "type": "nominal", "scale": scale, "legend": legend},
        },
        "layer": [one for one in layers if one["data"]["values"]],
        "config": {
            "background": "transparent",
            "font": FONT,
            "view": {"stroke": None},
            "axis": {
                "labelColor": text,
                "titleColor": text,
                "labelFontSize": 12,
                "titleFontSize": 13,
                "titleFontWeight": "normal",
                "titlePadding": 10,
                "gridColor": "rgba(128,128,128,0.2)",
                "domainColor": _grey(),
                "tickColor": _grey(),
                "labelFlush": False,
            },
            "legend": {"labelColor": text, "labelFontSize": 13, "symbolSize": 90, "rowPadding": 4},
        },
    }


def _text() -> str:
    return "#E8EAED" if is_dark() else "#1D2025"


def _grey() -> str:
    return "#9AA0A8" if is_dark() else "#6B7078"
