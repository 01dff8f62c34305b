"""Curves: what do more shots, parameters, seconds buy?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import streamlit as st

from dashboard import address, colours, plots
from dashboard.numbers import amount, bracket, duration, scored, size
from dashboard.plots import Line, Point
from dashboard.ranks import in_short
from dashboard.results import Results
from dashboard.shown import show as put
from dashboard.tree import Element, element, link
from dashboard.views import titled
from leaderboards.curves import LOG, Fit, ShotCurve, newest, shot_curves
from leaderboards.curves import Point as CurvePoint
from leaderboards.entrants import Entrant, Model, entrant, model
from leaderboards.records import SHARE, Run
from leaderboards.spread import Spread, spreads
from leaderboards.store import Store
from leaderboards.table import intervals_said
from leaderboards.tasks import called

TITLE = "Curves"
PLACE = 4


CHART, BEGUN = "curves", "curves.begun"
"""Keys of the plot's state, and of the points that it began with."""


class Against(NamedTuple):
    """A quantity on the x-axis: what it is called, a run's own, how it is printed, and whether less of it is better.

    tick: Vega's expression for a number beside the axis.
    """

    name: str
    of: Callable[[Run], float | None]
    said: Callable[[float | None], str]
    is_cost: bool
    tick: str = "format(datum.value, '~g')"


def _each(total: float, run: Run) -> float | None:
    return total / run.n if run.n and total else None


BILLIONS = "replace(format(datum.value, '~s'), 'G', 'B')"
BYTES = "format(datum.value, '~s') + 'B'"

AGAINST = {
    "shots": Against(
        "worked examples before each question", lambda run: run.num_fewshot, lambda one: f"{one:g}", False
    ),
    "parameters": Against("parameters", lambda run: run.parameters, amount, False, BILLIONS),
    "seconds": Against("seconds a question", lambda run: _each(run.seconds, run), duration, True),
    "tokens": Against(
        "tokens a question, read and written",
        lambda run: _each(run.prompt_tokens + run.generated_tokens, run),
        amount,
        True,
        BILLIONS,
    ),
    "memory": Against("peak memory, bytes", lambda run: run.peak_memory, size, True, BYTES),
}


def show(results: Results) -> None:
    """One plot, and the runs behind its points."""
    finished = [run for run in results.runs if run.scores and run.scores[0].value is not None]
    head = st.container()
    if not finished:
        titled(TITLE, "", results)
        st.text("No run is finished yet.")
        return
    by_task: dict[tuple[str, str, str, str], list[Run]] = defaultdict(list)
    for run in finished:
        by_task[_column(run)].append(run)
    names = {"/".join(column): runs for column, runs in sorted(by_task.items())}
    # The first that is shown is the one with most to see: most numbers of shots, then most runs.
    usual = max(names, key=lambda name: (len({run.num_fewshot for run in names[name]}), len(names[name])))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = address.one_of("Task", "task", [*names], usual, says=lambda one: _said(one, names), width=320)
        against = address.switch("Against", "against", [*AGAINST])
        shots = ""
        if against != "shots":
            there = ["", *map(str, sorted({run.num_fewshot for run in names[name]}))]
            shots = address.one_of("Shots", "shots", there, says=lambda one: one or "all", width=110)
    runs = [run for run in names[name] if not shots or str(run.num_fewshot) == shots]
    about = f"{name.split('/')[0]} against {against}" + (f" at {shots} shots" if shots else "")
    with head:
        titled(TITLE, about, results)
    _plot(results, runs, against, names[name][0])


def _column(run: Run) -> tuple[str, str, str, str]:
    score = run.scores[0]
    return run.task, run.split, score.metric, score.variant


def _said(name: str, names: Mapping[str, object]) -> str:
    task, split, *metric = name.split("/")
    alone = sum(other.split("/")[0] == task for other in names) == 1
    return task if alone else f"{task} {split} · {' '.join(metric)}"


def _plot(results: Results, runs: Sequence[Run], against: str, first: Run) -> None:
    quantity = AGAINST[against]
    unit, metric = first.scores[0].unit, f"{first.scores[0].metric} {first.scores[0].variant}"
    y_title = f"{metric}, percent" if unit == SHARE else metric
    having = [run for run in runs if quantity.of(run) is not None]
    if not having:
        st.text(f"No run of this task recorded its {against}.")
        return
    chosen = {run.run_id for run in having}.intersection(st.query_params.get_all("point"))
    if CHART not in st.session_state:  # a new plot begins with the address's points; then it has its own
        st.session_state[BEGUN] = sorted(chosen)
    begun: list[str] = st.session_state[BEGUN]
    front: list[Point] = []
    if against == "shots":
        ids = tuple(run.run_id for run in having)
        curves, spread = _curves(results.name, results.changed, ids, results.store, having)
        answer = _bought(curves, spread, having)
        if answer:
            put(answer, "bought")
        lines = _shot_lines(results, having, curves)
        figure = plots.curves(lines, quantity.name, y_title, begun)
    else:
        lines = _lines(results, having, against)
        if quantity.is_cost:
            front = plots.pareto([point for line in lines for point in line.single])
        figure = plots.scatter(lines, front, quantity.name, y_title, quantity.tick, begun)
    label = f"{y_title} against {quantity.name}, {len(lines)} models; the table below holds the same figures"
    st.vega_lite_chart(figure, theme=None, key=CHART, on_select=_keep, selection_mode=plots.POINTS, alt=label)
    put(_caption(having, against, has_front=len(front) > 1), "caption")
    put(_table(results, having, against, chosen), "runs")


def _keep() -> None:
    """Write the chosen points into the address."""
    points = st.session_state[CHART]["selection"][plots.POINTS]
    st.query_params["point"] = [str(point["run_id"]) for point in points]


def _lines(results: Results, runs: Sequence[Run], against: str) -> list[Line]:
    """Every run as a point of its model."""
    names, colour = results.names, colours.of_models(results.runs)
    quantity = AGAINST[against]
    held: dict[Model, list[Run]] = defaultdict(list)
    for run in runs:
        held[model(run)].append(run)
    return [
        Line(names[one], colour[one], (), [_point(run, quantity.of(run) or 0.0, quantity) for run in held[one]])
        for one in sorted(held, key=lambda one: names[one])
    ]


def _shot_lines(results: Results, runs: Sequence[Run], curves: Sequence[ShotCurve]) -> list[Line]:
    """A line a model and protocol, with the newest of repeated runs.

    What was run with one number of shots only is a point with its own interval.
    """
    colour = colours.of_models(results.runs)
    quantity = AGAINST["shots"]
    names = in_short([curve.entrant for curve in curves])
    of = {run.run_id: run for run in runs}
    found: list[Line] = []
    for curve in sorted(curves, key=lambda curve: names[curve.entrant]):
        single = [of[run_id] for point in curve.points for run_id in point.runs if run_id in of]
        points = [_point(run, plots.shots_place(run.num_fewshot), quantity) for run in single]
        means = [_mean(point, curve, names[curve.entrant]) for point in curve.points]
        found.append(Line(names[curve.entrant], colour[model(curve.entrant)], means, points))
    drawn = {point.run_id for line in found for point in line.single}
    for run in newest(runs):
        if run.run_id not in drawn:
            point = _point(run, plots.shots_place(run.num_fewshot), quantity)
            found.append(Line(results.names[model(run)], colour[model(run)], [point], [point]))
    return found


def _mean(point: CurvePoint, curve: ShotCurve, name: str) -> Point:
    factor = 100 if curve.unit == SHARE else 1
    low, high = (None if end is None else factor * end for end in (point.low, point.high))
    runs = f"mean of {len(point.runs)} runs" if len(point.runs) > 1 else f"run {next(iter(point.runs))[:8]}"
    interval = bracket(point.low, point.high, curve.unit)
    about = f"{name}: {scored(point.value, curve.unit)} {interval} · {point.shots} shots · {runs}"
    return Point(plots.shots_place(point.shots), factor * point.value, low, high, next(iter(point.runs)), about)


@st.cache_data(max_entries=50, show_spinner=False)
def _curves(
    name: str, changed: str, run_ids: Sequence[str], _store: Store, _runs: Sequence[Run]
) -> tuple[list[ShotCurve], list[Spread]]:
    return shot_curves(_store, _runs), spreads(_store, _runs)


def _bought(curves: Sequence[ShotCurve], found: Sequence[Spread], runs: Sequence[Run]) -> Element | None:
    """The page's answer in words: what a doubling adds, and how much hangs on the seed or the wording."""
    of = {run.run_id: run for run in runs}
    rows = [_shotless(one, of[one.run_ids[0]]) for one in found]
    names = in_short([curve.entrant for curve in curves] + rows)
    fitted = [
        element("li", element("b", names[curve.entrant]), f": {_slope(curve, curve.fit)}")
        for curve in curves
        if curve.fit
    ]
    spread = [
        element("li", element("b", names[row]), f": {_deviation(one)}") for one, row in zip(found, rows, strict=True)
    ]
    said = [
        element("h3", "What a doubling of 1 + k shots adds, by the curve through the points"),
        element("ul", fitted),
    ]
    hangs = [element("h3", "What hangs on the seed or the wording alone"), element("ul", spread)]
    parts = [*(said if fitted else []), *(hangs if spread else [])]
    return element("div", parts, kind="answers") if parts else None


def _shotless(one: Spread, run: Run) -> Entrant:
    """The row of a spread as curves have theirs: whatever their number and the seed, the wording where that was varied."""
    row = replace(entrant(run), num_fewshot=0, seed=0)
    return replace(row, wording="") if one.over == "phrasing" else row


def _slope(curve: ShotCurve, fit: Fit) -> str:
    digits = f"{_signed(fit.per_doubling, curve.unit)} points [{_signed(fit.low, curve.unit)}, {_signed(fit.high, curve.unit)}]"
    return digits if fit.formula == LOG else f"{digits} for the first, less for the next ({fit.formula})"


def _deviation(one: Spread) -> str:
    what = f"{len(one.members)} {'seeds' if one.over == 'seed' else 'wordings'}"
    at = f"at {one.num_fewshot} shot{'s' if one.num_fewshot != 1 else ''}"
    if one.std_low is None or one.std_high is None:
        return f"{what} {at} score alike"
    interval = f"[{scored(one.std_low, one.unit)}, {scored(one.std_high, one.unit)}]"
    return f"{what} {at} lie {scored(one.std, one.unit)} points apart (standard deviation, 95 % {interval})"


def _signed(value: float, unit: str) -> str:
    return f"{100 * value if unit == SHARE else value:+.1f}".replace("-", "−")


def _point(run: Run, x: float, quantity: Against) -> Point:
    score = run.scores[0]
    factor = 100 if score.unit == SHARE else 1
    value, low, high = (None if one is None else factor * one for one in (score.value, score.low, score.high))
    said = f"{run.model}: {scored(score.value, score.unit)} {bracket(score.low, score.high, score.unit)}"
    about = (
        f"{said} · {run.num_fewshot} shots · {quantity.said(quantity.of(run))} · n {score.n:,} · run {run.run_id[:8]}"
    )
    return Point(x, value or 0.0, low, high, run.run_id, about)


def _caption(runs: Sequence[Run], against: str, *, has_front: bool) -> Element:
    """What n is, and what bands and bars mean."""
    counts = sorted({run.scores[0].n for run in runs})
    n = f"n = {counts[0]:,}" if len(counts) == 1 else f"n = {counts[0]:,} to {counts[-1]:,}"
    if against == "shots":
        said = (
            f"{n} questions a run. Line: mean over a model's runs (seeds) at a number of shots; light dots: those runs. "
            "Band: 95 % interval of the mean (Wilson's; a normal one where a metric counts points)."
        )
    else:
        front = " Dotted: nothing cheaper is better." if has_front else ""
        tasks = called(runs)
        kinds = intervals_said((tasks[run.task, run.split], run.scores[0]) for run in runs)
        said = f"{n} questions a run. Bars: {kinds}.{front}"
    return element("p", said, kind="grey small wide")


KINDS = {"model": "first", "wording": "full", "score [95 %]": "number full"}


def _table(results: Results, runs: Sequence[Run], against: str, chosen: set[str]) -> Element:
    """The figures of the plot; the chosen points' runs first."""
    names = results.names
    quantity = AGAINST[against]
    columns = (
        ("model", "shots", "seed", "wording") + (() if against == "shots" else (against,)) + ("score [95 %]", "run")
    )
    number = {"shots", "seed", against, "score [95 %]"}
    rows: list[Element] = []
    for run in sorted(runs, key=lambda run: (run.run_id not in chosen, names[model(run)], run.num_fewshot, run.seed)):
        score = run.scores[0]
        values = [names[model(run)], str(run.num_fewshot), str(run.seed), run.phrasing]
        values += [] if against == "shots" else [quantity.said(quantity.of(run))]
        values += [f"{scored(score.value, score.unit)} {bracket(score.low, score.high, score.unit)}"]
        cells = [
            element("td", value, kind=KINDS.get(name, "number" if name in number else None), data_label=name)
            for name, value in zip(columns[:-1], values, strict=True)
        ]
        way = element("td", link(address.to("runs", run=run.run_id), run.run_id[:8], kind="link"), data_label="run")
        rows.append(element("tr", cells, way, kind="current" if run.run_id in chosen else None))
    head = element(
        "tr", [element("th", name, kind="number" if name in number else None, scope="col") for name in columns]
    )
    table = element("table", element("thead", head), element("tbody", rows), kind="cards")
    title = "The runs behind the points" + ("; the chosen ones are marked" if chosen else "")
    return element("div", element("h3", title), element("div", table, kind="scroll"))
