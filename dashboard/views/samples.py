"""Samples: what exactly did the model see and say?"""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard import address, boxes, pictures, questions, seen, steps
from dashboard.models import labels, run_label
from dashboard.numbers import duration, metric_of, official, one_score
from dashboard.questions import LISTED, VERDICTS, Filter, Row
from dashboard.results import Results
from dashboard.shown import show as put
from dashboard.tasks import called
from dashboard.tree import Element, cut, element, link
from dashboard.views import titled
from leaderboards.records import ALL, Run

TITLE = "Samples"
PLACE = 3

LONGEST_HEAD = 400
"""Characters of a question that stand above its picture."""

OF_ONE = ("sample", "whole", "step", "search")
"""Parameters that belong to the question that is shown."""

OF_RUN = ("skip", "slice", "kind", *OF_ONE)


def show(results: Results) -> None:
    """A list of a run's questions, and the chosen one in full."""
    runs = [run for run in results.runs if run.scores] or results.runs
    names, tasks = labels(results.runs), called(results.runs)
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
        _question(results, run, shown_id, [row["sample_id"] for row in rows])


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


def _question(results: Results, run: Run, sample_id: str, listed: list[str]) -> None:
    """One question with everything about it."""
    is_whole = address.get("whole") == "1"
    row = questions.one(results.store, run.run_id, sample_id, whole=is_whole) if sample_id else None
    if row is None:
        missing = "This run has no question with this id." if run.scores else "This run is not finished."
        put(element("p", missing if sample_id else "", kind="grey"), "question")
        return
    own = seen.own_pictures(row)
    size = _size(results, own)
    variants = [name.partition("/")[2] for name in row["scores"] if name.startswith("iou/")]
    drawn = boxes.answered(row["answer"] or "", row["targets"] or [], variants, size)
    searches = boxes.searches(row["trace"], size)
    put(_head(run, row, listed, is_whole=is_whole), "head")
    if searches and own:
        steps.show(results, own[-1], searches)
    elif own:
        put(element("div", [seen.whole(results.sources, *one, drawn) for one in own], seen.key(drawn)), "picture")
    put(_told(results, run, row, is_whole=is_whole), "told")


def _size(results: Results, own: list[tuple[str, str]]) -> tuple[int, int]:
    if not own:
        return 0, 0
    found = pictures.picture(results.sources, *own[-1], pictures.FULL_PX)
    return found.width, found.height


def _head(run: Run, row: Row, listed: list[str], *, is_whole: bool) -> Element:
    """The question with its answer and target, and the ways to the questions beside it."""
    metric = metric_of(run)
    verdict = seen.verdict(row["scores"].get(metric), row["error_kind"], row["problems"].get(metric))
    said = f"no answer: {row['error_kind']}" if row["error_kind"] else row["answer"] or "(empty)"
    return element(
        "div",
        element(
            "div",
            _asked(row, is_whole=is_whole),
            _beside(listed, row["sample_id"]),
            kind="steps",
        ),
        element(
            "p",
            seen.mark(verdict),
            " ",
            element("span", cut(said, 200), kind="answer"),
            element("span", "  target: ", kind="grey"),
            cut(" or ".join(dict.fromkeys(row["targets"] or [])), 200) or "–",
        ),
    )


def _asked(row: Row, *, is_whole: bool) -> Element:
    """The question; a long one's beginning with a link to the rest."""
    text, length = row["question"], row["question_length"]
    if is_whole or length <= LONGEST_HEAD:
        return element("span", text, kind="big")
    show = link(_whole_at(row), f"show all {length:,} characters", kind="link small")
    return element("span", cut(text, LONGEST_HEAD), " ", show, kind="big")


def _whole_at(row: Row) -> str:
    return address.here("samples", sample=row["sample_id"], whole=1)


def _beside(listed: list[str], sample_id: str) -> list[Element | str]:
    if sample_id not in listed:
        return []
    at = listed.index(sample_id)
    ways = (("previous", at - 1), ("next", at + 1))
    held = [
        link(
            address.here("samples", sample=listed[place], whole=None, step=None, search=None),
            name,
            kind="link small nowrap",
        )
        for name, place in ways
        if 0 <= place < len(listed)
    ]
    return [*held]


def _told(results: Results, run: Run, row: Row, *, is_whole: bool) -> Element:
    """The prompt, the answer as it came, how it was scored, what it took, and what other runs answered."""

    def long(text: str | None, length: int | None = None) -> Element:
        return seen.long_text(text, length, whole_at, is_whole=is_whole)

    whole_at = _whole_at(row)
    pictured = "1 picture" if row["n_images"] == 1 else f"{row['n_images']} pictures"
    asked = f"{pictured} · {row['prompt_tokens']:,} tokens"
    return element(
        "div",
        element("h3", f"The prompt as the model saw it · {asked}"),
        seen.prompt(results.sources, row, seen.sent(row), whole_at, is_whole=is_whole),
        element("h3", "Answer"),
        seen.facts(
            (
                ("error", element("span", row["error_kind"], kind="failed") if row["error_kind"] else None),
                ("it says", long(row["error"], row["error_length"]) if row["error"] else None),
                ("as it came", long(row["answer_raw"], row["answer_raw_length"])),
                ("as scored", long(row["answer"], row["answer_length"])),
                ("targets", long(" · ".join(row["targets"] or []) or None)),
                ("choices", long(" · ".join(row["choices"])) if row["choices"] else None),
                *_scores(run, row),
                ("slices", " · ".join(f"{name}: {value}" for name, value in row["slices"].items()) or None),
                ("took", _took(row)),
                ("question", f"{row['sample_id']} · about {row['document']}"),
            )
        ),
        _others(results, run, row),
    )


def _scores(run: Run, row: Row) -> list[tuple[str, str]]:
    """Each score with the rule that gave it, and why an answer could not be read."""
    first = official(run)
    unit = first.unit if first else "share"
    return [
        ("score", " · ".join(filter(None, (one_score(value, unit), name, row["problems"].get(name)))))
        for name, value in row["scores"].items()
    ]


def _took(row: Row) -> str:
    sure = "" if row["logprob"] is None else f" · log-probability {row['logprob']:.2f}"
    return f"{row['generated_tokens']:,} tokens · {duration(row['seconds'])}{sure}"


def _others(results: Results, run: Run, row: Row) -> Element | None:
    """What other runs of the same task answered to this question."""
    same = {
        other.run_id: other
        for other in results.runs
        if other.run_id != run.run_id and (other.task, other.split) == (run.task, run.split) and other.scores
    }
    names = labels(results.runs)
    metric = metric_of(run)
    found = questions.others(results.store, [*same], row["sample_id"], metric)
    if not found:
        return None
    order = {run_id: place for place, run_id in enumerate(same)}

    def line(one: dict[str, Any] | Row) -> Element:
        other = same[one["run_id"]]
        said = f"no answer: {one['error_kind']}" if one["error_kind"] else one["answer"] or "(empty)"
        at = address.to("samples", run=one["run_id"], sample=row["sample_id"])
        return element(
            "tr",
            element("td", seen.mark(seen.verdict(one["score"], one["error_kind"], None)), kind="narrow"),
            element("td", cut(said, 120)),
            element("td", link(at, run_label(other, names), kind="link small")),
        )

    rows = [line(one) for one in sorted(found, key=lambda one: order[one["run_id"]])]
    return element(
        "div", element("h3", "Other runs on this question"), element("table", element("tbody", rows), kind="others")
    )
