"""Slices and errors: on which kinds of questions does a model fail, and how?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import streamlit as st

from dashboard import address, questions
from dashboard.models import run_label
from dashboard.numbers import MISSING, bracket, or_why, percent, scored
from dashboard.results import Results
from dashboard.shown import show as put
from dashboard.tree import Element, cut, element, link
from dashboard.views import titled
from leaderboards.entrants import Model, model
from leaderboards.records import ALL, SHARE, Run, Score
from leaderboards.table import interval_kind
from leaderboards.tasks import Task, called

TITLE = "Slices & errors"
PLACE = 5

MOST_ROWS = 60
"""Runs in the heat map at most; the filters find the others."""


def show(results: Results) -> None:
    """A heat map of runs by slices, then what went wrong by kind."""
    scored_runs = [run for run in results.runs if run.scores]
    names = results.names
    head = st.container()
    if not scored_runs:
        titled(TITLE, "", results)
        st.text("No run is finished yet.")
        return
    tasks = called(results.runs)
    by_task: dict[str, list[Run]] = defaultdict(list)
    for run in scored_runs:
        by_task[tasks[run.task, run.split]].append(run)
    in_order = sorted(by_task, key=lambda name: (not _have_slices(by_task[name]), name))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        task = address.one_of("Task", "task", in_order, width=260)
        of_task = by_task[task]
        shots = address.one_of(
            "Shots",
            "shots",
            ["", *map(str, sorted({run.num_fewshot for run in of_task}))],
            says=lambda one: one or "all",
            width=120,
        )
        kinds = sorted({score.slice.partition("=")[0] for run in of_task for score in run.scores if score.slice != ALL})
        kind = address.one_of("Slices", "slices", kinds, width=260) if len(kinds) > 1 else "".join(kinds)
    shown = [run for run in of_task if not shots or str(run.num_fewshot) == shots]
    with head:
        titled(TITLE, " · ".join(filter(None, (task, f"{shots} shots" if shots else "", kind))), results)
    shown.sort(key=lambda run: (names[model(run)], run.num_fewshot, run.seed))
    put(_heat_map(shown[:MOST_ROWS], kind, names), "slices")
    put(_faults(results, shown, names, tasks), "faults")


def _have_slices(runs: Sequence[Run]) -> bool:
    return any(score.slice != ALL for run in runs for score in run.scores)


def _heat_map(runs: Sequence[Run], kind: str, names: Mapping[Model, str]) -> Element:
    """Runs by slices under the official metric; the stronger the colour, the more was wrong."""
    cells = {run.run_id: _by_slice(run, kind) for run in runs}
    shares = [
        one.value for held in cells.values() for one in held.values() if one.value is not None and one.unit == SHARE
    ]
    most = max(0.2, 1 - min(shares, default=0.0))
    are_seeds = len({run.seed for run in runs}) > 1
    columns = [ALL, *sorted({name for held in cells.values() for name in held if name != ALL})]
    if len(columns) == 1:
        said = "No run of this task has slices: its questions are of one kind."
        return element("p", said, kind="grey")
    heads = [element("th", cut(_value(name), 24), kind="number", scope="col", title=_value(name)) for name in columns]
    rows = [
        element(
            "tr",
            element("td", link(address.to("runs", run=run.run_id), names[model(run)], kind="name"), kind="first"),
            element("td", str(run.num_fewshot), kind="number", data_label="shots"),
            element("td", str(run.seed), kind="number", data_label="seed") if are_seeds else None,
            [_cell(run, cells[run.run_id].get(name), name, most) for name in columns],
        )
        for run in runs
    ]
    official = runs[0].scores[0]
    title = f"{official.metric} {official.variant} by {kind}, in percent" if official.unit == SHARE else official.metric
    head = element(
        "tr",
        element("th", "model", scope="col"),
        element("th", "shots", kind="number", scope="col"),
        element("th", "seed", kind="number", scope="col") if are_seeds else None,
        heads,
    )
    table = element("table", element("thead", head), element("tbody", rows), kind="cards heat")
    note = "the stronger the colour, the more questions were missed · a cell leads to its questions"
    return element("div", element("h3", f"{title} · {note}"), element("div", table, kind="scroll"))


def _value(name: str) -> str:
    return "all" if name == ALL else name.partition("=")[2]


def _by_slice(run: Run, kind: str) -> dict[str, Score]:
    official = run.scores[0]
    return {
        score.slice: score
        for score in run.scores
        if (score.metric, score.variant) == (official.metric, official.variant)
        and (score.slice == ALL or score.slice.partition("=")[0] == kind)
    }


def _cell(run: Run, score: Score | None, name: str, most: float) -> Element:
    label = _value(name)
    if score is None or score.value is None:
        return element("td", or_why(MISSING, "this run has no such questions"), kind="number", data_label=label)
    interval = bracket(score.low, score.high, score.unit)
    about = f"{score.n:,} questions" + (f" · 95 % {interval}, {interval_kind(score)}" if interval else "")
    missed = (1 - score.value) / most if score.unit == SHARE else 0.0
    at = address.to("samples", run=run.run_id, slice=None if name == ALL else name, score="wrong")
    return element(
        "td",
        link(at, scored(score.value, score.unit)),
        kind="number heat",
        data_label=label,
        title=about,
        __missed=f"{min(1.0, max(0.0, missed)):.3f}",
    )


def _faults(results: Results, runs: Sequence[Run], names: Mapping[Model, str], tasks: Mapping[Task, str]) -> Element:
    """Answers that are missing or could not be read, by kind and run."""
    found = questions.faults(results.store, [run.run_id for run in runs])
    by_kind: dict[tuple[str, str], list[questions.Row]] = defaultdict(list)
    for row in found:
        by_kind[row["fault"], row["kind"]].append(row)
    if not by_kind:
        said = "Every question of these runs has an answer that could be read."
        return element("div", element("h3", "Errors"), element("p", said))
    of = {run.run_id: run for run in runs}
    rows: list[Element] = []
    for (fault, kind), held in by_kind.items():
        for row in held:
            run = of[row["run_id"]]
            verdict = "error" if fault == "error" else "unread"
            at = address.to("samples", run=run.run_id, score=verdict, kind=kind)
            rows.append(
                element(
                    "tr",
                    element("td", "no answer" if fault == "error" else "unreadable", kind="failed first nowrap"),
                    element("td", kind, kind="full", data_label="kind"),
                    element("td", link(at, f"{row['times']:,}", kind="link"), kind="number", data_label="questions"),
                    element("td", percent(row["times"] / max(1, run.n)), kind="number", data_label="% of run"),
                    element("td", run_label(run, names, tasks), kind="full", data_label="run"),
                    element(
                        "td", cut(row["example"] or "(empty)", 120), kind="small grey full", data_label="for example"
                    ),
                )
            )
    heads = ("", "kind", "questions", "% of run", "run", "for example")
    number = {"questions", "% of run"}
    head = element(
        "tr", [element("th", name, kind="number" if name in number else None, scope="col") for name in heads]
    )
    table = element("table", element("thead", head), element("tbody", rows), kind="cards")
    return element(
        "div", element("h3", "Errors: no answer, or none that could be read"), element("div", table, kind="scroll")
    )
