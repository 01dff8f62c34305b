"""Runs: how was this number made, and how is it made again?"""

from __future__ import annotations

import json
from collections.abc import Mapping

import streamlit as st

from dashboard import address, questions, seen
from dashboard.models import run_label
from dashboard.numbers import (
    MISSING,
    amount,
    bracket,
    date,
    duration,
    official,
    or_why,
    percent,
    quantity,
    scored,
    size,
)
from dashboard.results import Results
from dashboard.shown import show as put
from dashboard.tree import Element, Node, cut, element, link
from dashboard.views import titled
from leaderboards.entrants import Model, model
from leaderboards.records import Run
from leaderboards.store import Standing, Store
from leaderboards.table import interval_kind
from leaderboards.tasks import Task, called

TITLE = "Runs"
PLACE = 6

COLUMNS = ("model", "task", "shots", "seed", "score [95 %]", "n", "errors", "time", "q/s", "when")
NUMBERS = {"shots", "seed", "score [95 %]", "n", "errors", "time", "q/s"}
WHOLE_LINES = {"task", "score [95 %]", "when"}
"""Cells that have a line of their own on a phone."""

UNFINISHED = "the run is not finished"

UNSCORED = "the rule defines no score here, or a judge has yet to grade the answers (flab grade)"
"""Why a finished run may have none."""

MOST = 300
"""Runs that are listed at most; the filters find the others."""


def show(results: Results) -> None:
    """Every run, failed ones first; the chosen one with its settings, beside another one's."""
    runs = sorted(results.runs, key=lambda run: run.status == "complete")
    names, named = results.names, called(runs)
    head = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        tasks = address.several("Tasks", "task", sorted({run.task for run in runs}))
        models = address.several("Models", "model", sorted({run.model for run in runs}))
    listed = [run for run in runs if (not tasks or run.task in tasks) and (not models or run.model in models)]
    chosen = results.run(address.get("run"))
    with head:
        titled(TITLE, run_label(chosen, names, named) if chosen else " · ".join((*tasks, *models)), results)
    if chosen is not None:
        _detail(results, chosen, names, named)
    put(_table(results.store, listed, names, named, chosen), "runs")


def _table(
    store: Store, runs: list[Run], names: Mapping[Model, str], tasks: Mapping[Task, str], chosen: Run | None
) -> Element:
    head = [element("th", name, kind="number" if name in NUMBERS else None, scope="col") for name in COLUMNS]
    rows = [_row(run, store.standing(run), names, tasks, is_chosen=run is chosen) for run in runs[:MOST]]
    more = element("p", f"{len(runs) - MOST} more runs; filter to see them", kind="grey") if len(runs) > MOST else None
    return element(
        "div",
        element("h3", "All runs") if chosen else None,
        element(
            "div",
            element("table", element("thead", element("tr", head)), element("tbody", rows), kind="cards"),
            kind="scroll",
        ),
        more,
    )


def _row(
    run: Run, standing: Standing, names: Mapping[Model, str], tasks: Mapping[Task, str], *, is_chosen: bool
) -> Element:
    score = official(run)
    shown: list[Node] = []
    if score:
        value = or_why(scored(score.value, score.unit), UNSCORED)
        shown = [value, f" {bracket(score.low, score.high, score.unit)}"]
    shown += [element("div", str(standing), kind="thin failed")] if standing.status != "complete" else []
    values = (
        link(address.here("runs", run=run.run_id, beside=None), names[model(run)], kind="link"),
        tasks[run.task, run.split],
        str(run.num_fewshot),
        str(run.seed),
        shown,
        f"{run.n:,}",
        or_why(_once_known(run, str(run.n_errors)), UNFINISHED),
        or_why(_once_known(run, duration(run.seconds)), UNFINISHED),
        or_why(quantity(run.questions_per_second), "not recorded" if run.scores else UNFINISHED),
        date(run.created),
    )
    cells = [
        element(
            "td",
            value,
            kind=" ".join(
                filter(
                    None,
                    (
                        "number" if name in NUMBERS else "",
                        "first" if name == "model" else "",
                        "full" if name in WHOLE_LINES else "",
                        "nowrap" if name == "when" else "",
                        "failed" if _is_failed(run, name) else "",
                    ),
                )
            )
            or None,
            data_label=name,
        )
        for name, value in zip(COLUMNS, values, strict=True)
    ]
    return element("tr", cells, kind="current" if is_chosen else None)


def _once_known(run: Run, text: str) -> str:
    """A figure of a run, a dash until there is one."""
    return text if run.scores else MISSING


def _is_failed(run: Run, column: str) -> bool:
    return (column == "errors" and run.n_errors > 0) or (column == "score [95 %]" and run.status != "complete")


def _detail(results: Results, run: Run, names: Mapping[Model, str], tasks: Mapping[Task, str]) -> None:
    """A run in full: what went wrong first, then its command, its settings, where its time went."""
    if run.status != "complete" or run.n_errors:
        put(_failure(results, run), "failure")
    st.text("Make it again", help="The command as it was given; with the same files it finds this run.")
    st.code(run.command or "the command was not recorded", language=None, wrap_lines=True)
    others = {other.run_id: other for other in results.runs if other.run_id != run.run_id}
    left, right = st.columns([3, 2], gap="medium")
    with left:
        beside = address.one_of(
            "Beside",
            "beside",
            ["", *others],
            says=lambda one: run_label(others[one], names, tasks) if one else "no other run",
        )
        put(_settings(results.store, run, others.get(beside)), "settings")
    with right:
        put(_time(run), "time")
        put(element("p", link(address.to("samples", run=run.run_id), "Its questions and answers", kind="link")), "on")


def _failure(results: Results, run: Run) -> Element:
    standing = results.store.standing(run)
    said = {
        "running": f"This run is under way: {standing}.",
        "stopped": f"No process is at this run: {standing}. The same command goes on with it.",
        "too many errors": f"{run.n_errors:,} of {run.n:,} questions have no answer, more than the run allows.",
    }.get(standing.status, f"{run.n_errors:,} of {run.n:,} questions have no answer.")
    kinds = [row for row in questions.faults(results.store, (run.run_id,)) if row["fault"] == "error"]
    lines = [
        element(
            "li",
            link(
                address.to("samples", run=run.run_id, score="error", kind=row["kind"]),
                f"{row['times']} × {row['kind']}",
                kind="link",
            ),
            f": {cut(row['example'] or '', 300)}",
        )
        for row in kinds
    ]
    return element("div", element("p", said, kind="failed wide"), element("ul", lines))


def _settings(store: Store, run: Run, other: Run | None) -> Element:
    """What decided the run's answers; where two runs differ, the line is marked."""
    columns = [_told(store, one) for one in (run, other) if one]
    rows: list[Element] = []
    for name in dict.fromkeys(name for column in columns for name in column):
        values = [column.get(name, MISSING) for column in columns]
        kind = "differs" if len(set(values)) > 1 else None
        cells = [
            element("td", or_why(cut(value, 300), "not recorded, or not asked for"), kind=kind) for value in values
        ]
        rows.append(element("tr", element("td", name, kind="grey"), cells))
    title = "Settings and versions" + ("; what differs is marked" if other else "")
    return element("div", element("h3", title), element("table", element("tbody", rows)))


def _told(store: Store, run: Run) -> dict[str, str]:
    """Everything that was recorded about how a run was made, as text."""
    score = official(run)
    told = {
        "run": run.run_id,
        "status": str(store.standing(run)),
        "score": f"{scored(score.value, score.unit)} {bracket(score.low, score.high, score.unit)}"
        if score
        else MISSING,
        "interval": interval_kind(score) if score else MISSING,
        "metric": f"{score.metric} {score.variant}" if score else MISSING,
        "model": run.model,
        "weights": run.model_digest[:16],
        "family": run.family or MISSING,
        "parameters": amount(run.parameters),
        "backend": run.backend or MISSING,
        "number type": run.dtype or MISSING,
        "quantisation": run.quantisation or "none",
        "task": f"{run.task}, {run.split} split, {run.task_digest[:12]}",
        "shots": f"{run.num_fewshot}, {run.shot_selection}",
        "wording": run.phrasing,
        "decoding": run.decoding,
        "seed": str(run.seed),
        "limit": "none" if run.limit is None else f"{run.limit:,}",
        "begun": date(run.created),
        "ended": date(run.finished),
    }
    known = set(told) | {"num_fewshot", "shot_selection", "decoding", "seed", "limit"}
    told |= {name: _said(value) for name, value in run.settings.items() if name not in known}
    told |= {f"hardware: {name}": _said(value) for name, value in run.hardware.items()}
    return told | {f"version: {name}": value for name, value in run.versions.items()}


def _said(value: object) -> str:
    if value is None or value == []:
        return MISSING
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _counted(name: str, value: float) -> str:
    """A counter; shares are named so."""
    return f"{percent(value)} %" if name.endswith("_share") else f"{value:,.0f}"


def _stages(spent: Mapping[str, float]) -> list[tuple[int, str, float]]:
    """Depth, name and seconds of each stage, its parts under it. What is named by its parts alone has their sum."""
    paths = {tuple(name.split(": ")): seconds for name, seconds in spent.items()}
    seen_at: dict[tuple[str, ...], int] = {}
    for path in paths:
        for depth in range(1, len(path) + 1):
            seen_at.setdefault(path[:depth], len(seen_at))
    in_order = sorted(seen_at, key=lambda path: [seen_at[path[: depth + 1]] for depth in range(len(path))])
    return [
        (
            len(path) - 1,
            path[-1],
            paths[path] if path in paths else sum(paths[one] for one in paths if one[: len(path)] == path),
        )
        for path in in_order
    ]


def _time(run: Run) -> Element:
    """Where the time went, and what was asked of the model. Replicas work side by side: each has its own time."""
    stages = _stages(run.stages)
    whole = sum(seconds for depth, _, seconds in stages if depth == 0) or 1.0
    bars = [
        element(
            "tr",
            element("td", name, kind="grey stage", __depth=depth),
            element("td", duration(seconds), kind="number"),
            element("td", element("span", kind="bar", __share=min(1.0, seconds / whole)), width="40%"),
        )
        for depth, name, seconds in stages
    ]
    counted = {
        "whole time": _once_known(run, duration(run.seconds)),
        "questions a second": quantity(run.questions_per_second),
        "prompt tokens": _once_known(run, f"{run.prompt_tokens:,}"),
        "generated tokens": _once_known(run, f"{run.generated_tokens:,}"),
        "peak memory": size(run.peak_memory),
        **{name.replace("_", " "): _counted(name, value) for name, value in run.counters.items()},
    }
    return element(
        "div",
        element("h3", "Time by stage"),
        element("table", element("tbody", bars)),
        element("h3", "Work"),
        seen.facts([*counted.items()]),
    )
