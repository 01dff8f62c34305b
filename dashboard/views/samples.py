"""Samples: what exactly did the model see and say?"""

from __future__ import annotations

import streamlit as st

from dashboard import address, questions, seen
from dashboard.models import run_label
from dashboard.numbers import metric_of
from dashboard.question import question
from dashboard.questions import LISTED, VERDICTS, Filter, Row
from dashboard.results import Results
from dashboard.shown import show as put
from dashboard.tree import Element, cut, element, link
from dashboard.views import titled
from leaderboards.records import ALL, Run
from leaderboards.tasks import called

TITLE = "Samples"
PLACE = 3

OF_ONE = ("sample", "whole", "step", "search")
"""Parameters that belong to the question that is shown."""

OF_RUN = ("skip", "slice", "kind", *OF_ONE)


def show(results: Results) -> None:
    """A list of a run's questions, and the chosen one in full."""
    runs = [run for run in results.runs if run.scores] or results.runs
    names, tasks = results.names, called(results.runs)
    by_id = {run.run_id: run for run in runs}
    # The title says what is filtered, and is above the filters that say so.
    head = st.container()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = address.one_of(
            "Run", "run", [*by_id], says=lambda one: run_label(by_id[one], names, tasks), forgets=OF_RUN, width=480
        )
        verdict = address.switch("Answers", "score", [*VERDICTS], says=VERDICTS.__getitem__, forgets=("skip",))
        wanted = _filters(by_id[chosen], results, verdict)
    run = by_id[chosen]
    with head:
        titled(TITLE, " · ".join(filter(None, (run_label(run, names, tasks), *_said(wanted)))), results)
    skip = address.number("skip")
    rows = questions.listed(results.store, chosen, wanted, skip)
    left, right = st.columns([2, 3], gap="medium")
    shown_id = address.get("sample") or (rows[0]["sample_id"] if rows else "")
    with left:
        put(_list(results, rows, shown_id, skip), "list")
    with right:
        question(results, run, shown_id, [row["sample_id"] for row in rows])


def _filters(run: Run, results: Results, verdict: str) -> Filter:
    """The filters besides the run and the verdict; the rarer ones open on demand."""
    slices = sorted({score.slice for score in run.scores if score.slice != ALL})
    picked = "="
    if slices:
        picked = address.one_of(
            "Slice", "slice", ["", *slices], says=lambda one: one or "all", forgets=("skip",), width=150
        )
    text = address.text("Search", "text", placeholder="in questions, answers, targets", forgets=("skip",))
    with st.popover(address.counted("More filters", "kind", "low", "high", "short", "long")):
        kinds = [row["kind"] for row in questions.faults(results.store, (run.run_id,)) if row["kind"]]
        kind = address.one_of(
            "Error, or reason for no reading",
            "kind",
            ["", *dict.fromkeys(kinds)],
            says=lambda one: one or "all",
            forgets=("skip",),
        )
        low = address.text("Score from", "low", placeholder="0", forgets=("skip",))
        high = address.text("Score to", "high", placeholder="1", forgets=("skip",))
        short = address.text("Answer length from (characters)", "short", placeholder="0", forgets=("skip",))
        long = address.text("Answer length to (characters)", "long", placeholder="any", forgets=("skip",))
    name, _, value = picked.partition("=")
    return Filter(
        metric_of(run), verdict, name, value, kind, text, _float(low), _float(high), _whole(short), _whole(long)
    )


def _said(wanted: Filter) -> list[str]:
    """The filters in words."""
    said = [VERDICTS[wanted.verdict] if wanted.verdict else "", wanted.value, wanted.kind]
    said += [f"“{cut(wanted.text, 30)}”"] if wanted.text else []
    said += _between("score", wanted.low, wanted.high)
    return said + _between("characters", wanted.short, wanted.long)


def _between(what: str, low: float | None, high: float | None) -> list[str]:
    """A range in words, where an end of it is given."""
    if low is None and high is None:
        return []
    ends = [f"from {low:,}" if low is not None else "", f"to {high:,}" if high is not None else ""]
    return [" ".join(filter(None, (what, *ends)))]


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _whole(text: str) -> int | None:
    value = _float(text)
    return None if value is None or not abs(value) < 1e9 else int(value)


def _list(results: Results, rows: list[Row], shown_id: str, skip: int) -> Element:
    """The questions, `LISTED` at a time."""
    if not rows and skip:
        first = link(address.here("samples", skip=None), "back to the first", kind="link")
        return element("p", "No more questions pass these filters · ", first, kind="grey")
    if not rows:
        return element("p", "No question passes these filters.", kind="grey")
    found = rows[0]["found"]

    def line(row: Row) -> Element:
        verdict = seen.verdict(row["score"], row["error_kind"], row["problem"])
        said = f"no answer: {row['error_kind']}" if row["error_kind"] else row["answer"] or "(empty)"
        texts = (
            element("div", cut(row["question"], 160), kind="line"),
            element("div", cut(said, 160), kind="line said"),
        )
        return link(
            address.here("samples", sample=row["sample_id"], whole=None, step=None, search=None),
            seen.thumbnail(results.sources, row["digest"] or "", row["path"] or ""),
            element("div", texts, kind="texts"),
            seen.mark(verdict),
            aria_current="true" if row["sample_id"] == shown_id else None,
        )

    last = skip + len(rows)
    pages = element(
        "p",
        f"{skip + 1:,}–{last:,} of {found:,}" if found > LISTED else f"{found:,} question{'s' if found > 1 else ''}",
        [" · ", link(address.here("samples", skip=max(0, skip - LISTED) or None), "back", kind="link")]
        if skip
        else None,
        [" · ", link(address.here("samples", skip=last), "next", kind="link")] if last < found else None,
        kind="grey small",
    )
    return element("div", pages, element("div", [line(row) for row in rows], kind="list", id="questions"))
