"""Leaderboard: which model is best at what, and is that certain?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import streamlit as st

from dashboard import address, colours, reports
from dashboard.board import board, legend
from dashboard.ranks import complete, in_short, ranked, untested, what
from dashboard.results import Results
from dashboard.shown import show as put
from dashboard.tree import Element, Node, element
from dashboard.views import titled
from dashboard.workshop import WAIT_SECONDS
from leaderboards import export, table
from leaderboards.entrants import entrant
from leaderboards.ranking import Matrix, matrix
from leaderboards.records import Run
from leaderboards.tasks import called

TITLE = "Leaderboard"
PLACE = 1

SIZES = {"": "all", "1": "below 1 B", "10": "1–10 B", "40": "10–40 B", "x": "above 40 B"}
BOUNDS = {"1": (0, 1e9), "10": (1e9, 1e10), "40": (1e10, 4e10), "x": (4e10, math.inf)}


def show(results: Results) -> None:
    """Models by tasks with intervals, rank ranges, and what is certain about them."""
    finished = [run for run in results.runs if run.scores and run.scores[0].value is not None]
    head = st.container()
    if not finished:
        titled(TITLE, "", results)
        st.text("No run is finished yet; the page Runs shows what is under way.")
        return
    passing, said = _filtered(results, finished)
    runs, whole = passing, complete(passing)
    with st.container(horizontal=True):
        # By default only rows that lack no column, where there are any.
        if address.is_on("complete rows only", "complete", default=bool(whole)):
            runs = whole
        is_beside = address.is_on("published scores", "published", help="What the authors of a model reported.")
    with head:
        titled(TITLE, " · ".join(said), results)
    if not runs:
        st.text("No model passes these filters, or none has a score in every column.")
        return
    tested = ranked(results, runs)
    held = tested or untested(runs)
    if tested:
        put(_note(held), "note")
    else:
        _wait(results, runs)
    hidden = len({entrant(run) for run in passing} - {entrant(run) for run in runs})
    if hidden:
        said_of = "1 row lacks a column and is hidden" if hidden == 1 else f"{hidden} rows lack a column and are hidden"
        put(element("p", said_of, kind="grey small"), "hidden")
    tasks = called(results.runs)
    colour = colours.of_models(results.runs)
    put(board(held, results.names, colour, tasks, is_beside=is_beside), "leaderboard")
    put(legend(held, tasks), "legend")
    if is_beside:
        put(reports.listed(held, tasks), "published")
    _downloads(results, runs)


def _filtered(results: Results, finished: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """The runs that pass the filters, and what the filters say."""
    groups = {f"group: {name}": tasks for name, tasks in results.groups.items()}
    there = sorted({run.task for run in finished})
    useful = [name for name, tasks in groups.items() if {one.partition(":")[0] for one in tasks} & set(there)]
    shots = ["", *map(str, sorted({run.num_fewshot for run in finished}))]
    families = ["", *sorted({run.family for run in finished if run.family})]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        tasks = address.several("Tasks", "task", [*useful, *there])
        shot = address.one_of("Shots", "shots", shots, says=lambda one: one or "all", width=110)
        family = address.one_of("Family", "family", families, says=lambda one: one or "all", width=170)
        size = address.one_of("Size", "size", [*SIZES], says=SIZES.__getitem__, width=130)
        with st.popover(address.counted("More filters", "dtype", "since")):
            dtypes = ["", *sorted({run.dtype for run in finished if run.dtype})]
            dtype = address.one_of("Number type", "dtype", dtypes, says=lambda one: one or "all")
            days = ["", *sorted({run.created[:10] for run in finished}, reverse=True)]
            since = address.one_of("Run since", "since", days, says=lambda one: one or "any day")
    wanted = {member for name in tasks for member in groups.get(name, [name])}
    low, high = BOUNDS.get(size, (0, math.inf))
    kept = [
        run
        for run in finished
        if (not wanted or run.task in wanted or f"{run.task}:{run.split}" in wanted)
        and (not shot or str(run.num_fewshot) == shot)
        and (not family or run.family == family)
        and (not size or low <= (run.parameters or -1) < high)
        and (not dtype or run.dtype == dtype)
        and run.created[:10] >= since
    ]
    parts = [*tasks, f"{shot} shots" if shot else "", family, SIZES[size] if size else "", dtype]
    return kept, [one for one in (*parts, f"since {since}" if since else "") if one]


@st.fragment(run_every=WAIT_SECONDS)
def _wait(results: Results, runs: Sequence[Run]) -> None:
    """Say that ranks are to come, and show them once they are known."""
    st.text("Scores as measured; ranks, averages and what is certain are being worked out …")
    if ranked(results, runs):
        st.rerun()


def _note(held: Matrix) -> Element:
    """The page's answer in a sentence."""
    ranks = [(row, row.average.ranks) for row in held.rows if row.average]
    first = [row for row, rank in ranks if rank[0] == 1]
    if len(held.rows) == 1:
        return element("p", "One model: a rank needs a second one on the same questions.", kind="grey")
    if not first:
        said: list[Node] = ["No row has every task, so there is no average to rank by; each column has its own best."]
    elif len(first) == 1:
        said = [element("b", first[0].entrant.model), f" ({what(first[0].entrant)}) is surely first on average."]
    else:
        names = in_short([row.entrant for row in held.rows])
        found = [names[row.entrant] for row in first]
        said = [
            element("b", "; ".join(found[:4])),
            f" may be first on average; a test cannot tell these {len(first)} apart.",
        ]
    return element("p", said)


def _downloads(results: Results, runs: Sequence[Run]) -> None:
    made = {
        "csv": ("text/csv", lambda: table.text(table.rows(runs, every_slice=True), "csv")),
        "json": ("application/json", lambda: export.leaderboard(matrix(results.store, runs))),
        "html": ("text/html", lambda: export.page(results.store, runs)),
    }
    with st.container(horizontal=True):
        for form, (kind, write) in made.items():
            st.download_button(f"Download {form.upper()}", write, f"leaderboard.{form}", kind, on_click="ignore")
