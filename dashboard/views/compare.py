"""Compare: is A better than B, where, and by how much?"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import streamlit as st

from dashboard import address, colours, questions, seen
from dashboard.models import Model
from dashboard.numbers import one_score, scored
from dashboard.ranks import entrants, in_short, newest
from dashboard.results import Changed, Results
from dashboard.shown import show as put
from dashboard.tree import Element, Node, cut, element, link
from dashboard.views import titled
from leaderboards.compare import Comparison, Difference, Differing, against, differing
from leaderboards.entrants import Entrant
from leaderboards.records import ALL, SHARE, Run
from leaderboards.store import Store

TITLE = "Compare"
PLACE = 2

MOST_OTHERS = 3
CARDS = 20
"""Questions that are shown at a time."""

WORDS = re.compile(r"\s+|[^\s]+")

Task = tuple[str, str]


class Line(NamedTuple):
    """A line of the forest plot."""

    task: Task
    other: Entrant
    found: Difference


def show(results: Results) -> None:
    """Differences with their intervals, then the questions on which the models differ."""
    there = entrants(results.runs)
    head = st.container()
    if len(there) < 2:
        titled(TITLE, "", results)
        said = "one finished kind of run" if there else "no finished run"
        st.text(f"A comparison needs two models, or two protocols, on the same questions; there is {said}.")
        st.code("flab eval --model ANOTHER --tasks THE-SAME", language=None)
        return
    names = in_short([*there.values()])
    base_key, other_keys = _choice(results, there, names)
    base, others = there[base_key], [there[one] for one in other_keys]
    with head:
        titled(TITLE, f"{' and '.join(names[one] for one in others)} against {names[base]}", results)
    runs = {one: newest(results.runs, one) for one in (base, *others)}
    compared = _compared(results, base, others, runs)
    if not compared:
        st.text("These have no task in common. Choose others, or ask both models the same task.")
        return
    lines = [
        Line(task, other, one)
        for task, found in compared.items()
        for other, comparison in found.items()
        for one in comparison.differences
    ]
    put(_verdict(lines, base, others, names), "verdict")
    put(_forest(results, lines, compared, names), "forest")
    _questions(results, compared, base, names)


def _choice(results: Results, there: Mapping[str, Entrant], names: Mapping[Entrant, str]) -> tuple[str, list[str]]:
    """The row that the others are set against, and those: by default the one with the most tasks, and another model."""
    keys = [*there]
    most = max(keys, key=lambda one: len(newest(results.runs, there[one])))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        base = address.one_of("Against", "a", keys, most, says=lambda one: names[there[one]], width=380)
        rest = [one for one in keys if one != base]
        alike = [
            one for one in rest if there[one].num_fewshot == there[base].num_fewshot and _is_other(there, one, base)
        ]
        usual = (alike or rest)[:1]
        others = address.several(
            "Compared", "b", rest, usual, says=lambda one: names[there[one]], most=MOST_OTHERS, placeholder="choose"
        )
    return base, others or usual


def _is_other(there: Mapping[str, Entrant], one: str, base: str) -> bool:
    return there[one].digest != there[base].digest


def _compared(
    results: Results,
    base: Entrant,
    others: Sequence[Entrant],
    runs: Mapping[Entrant, Mapping[Task, Run]],
) -> dict[Task, dict[Entrant, Comparison]]:
    """Each task's comparisons, with one correction over the others."""
    found: dict[Task, dict[Entrant, Comparison]] = {}
    for task, run in sorted(runs[base].items()):
        having = [one for one in others if task in runs[one]]
        if having:
            metric = f"{run.scores[0].metric}/{run.scores[0].variant}"
            ids = tuple(runs[one][task].run_id for one in having)
            held = _against(results.name, results.changed, run.run_id, ids, metric, results.store)
            found[task] = dict(zip(having, held, strict=True))
    return found


@st.cache_data(max_entries=200, show_spinner=False)
def _against(
    name: str, changed: Changed, base: str, others: Sequence[str], metric: str, _store: Store
) -> list[Comparison]:
    return against(_store, base, others, metrics=[metric])


def _verdict(lines: Sequence[Line], base: Entrant, others: Sequence[Entrant], names: Mapping[Entrant, str]) -> Element:
    """The page's answer in a sentence for each model."""
    said: list[Element] = []
    for other in others:
        wholes = [line.found for line in lines if line.other == other and line.found.slice == ALL and line.found.test]
        better = sum(one.is_sure and (one.difference or 0) > 0 for one in wholes)
        worse = sum(one.is_sure and (one.difference or 0) < 0 for one in wholes)
        rest = len(wholes) - better - worse
        parts = [f"better on {better}" if better else "", f"worse on {worse}" if worse else ""]
        parts += [f"not distinguishable on {rest}" if rest else ""]
        tasks = "task" if len(wholes) == 1 else "tasks"
        text = f" against {names[base]}: {', '.join(filter(None, parts)) or 'nothing can be tested'} of {len(wholes)} {tasks}."
        said.append(element("p", element("b", names[other]), text))
    return element("div", said)


def _forest(
    results: Results,
    lines: Sequence[Line],
    compared: Mapping[Task, Mapping[Entrant, Comparison]],
    names: Mapping[Entrant, str],
) -> Element:
    """A line a task, then its slices: the difference with its interval, on one axis, and what could be seen at all."""
    colour = colours.of_models(results.runs)
    shares = [line.found for line in lines if line.found.unit == SHARE]
    ends = [abs(end) for one in shares for end in (one.low, one.high, one.detectable) if end is not None]
    reach = 1.08 * max(ends, default=1.0) or 1.0
    several = len({line.other for line in lines}) > 1
    rows: list[Element] = []
    for line in lines:
        one = line.found
        is_whole = one.slice == ALL
        title = f"{line.task[0]}" if is_whole else one.slice.replace("=", ": ", 1)
        at = address.here("compare", task=line.task[0], slice=None if is_whole else one.slice, skip=None)
        cells: list[Element] = [
            element(
                "td",
                link(at, title, title="the questions on which they differ"),
                kind=f"first {'whole-task' if is_whole else 'part'}",
            ),
            element("td", names[line.other], kind="thin", data_label="compared") if several else None,
            element("td", scored(one.a, one.unit), kind="number", data_label="base"),
            element("td", scored(one.b, one.unit), kind="number", data_label="compared"),
            element(
                "td",
                _plot(one, reach, colour[Model(line.other.model, line.other.digest)]),
                kind="plot",
                data_label="−, 0, +",
            ),
            element("td", _points(one), kind="nowrap", data_label="difference"),
            element(
                "td", f"{one.wins:,} / {one.losses:,} / {one.ties:,}", kind="nowrap", data_label="won / lost / equal"
            ),
            element("td", _sure(one), kind="thin", data_label="sure?"),
        ]
        rows.append(element("tr", [cell for cell in cells if cell is not None], kind="slice" if not is_whole else None))
    notes = dict.fromkeys(note for held in compared.values() for one in held.values() for note in _notes(one))
    legend = (
        "Dot and line: difference with its 95 % interval (paired, questions on one picture taken together). Grey band: "
        "differences that so many questions would mostly not show (80 % power). Sure: after Holm's correction."
    )
    table = element("table", element("thead", _heads(several, reach)), element("tbody", rows), kind="cards forest")
    return element(
        "div",
        element("div", table, kind="scroll"),
        element("p", legend, kind="grey small wide"),
        element("p", "Not alike beside the model: " + "; ".join(notes), kind="small") if notes else None,
    )


def _heads(several: bool, reach: float) -> Element:
    """Column heads; that of the plot is its axis."""
    ticks = [element("span", f"{100 * end:+.0f}".replace("-", "−").replace("+0", "0")) for end in (-reach, 0.0, reach)]
    heads = [element("th", "task", scope="col"), element("th", "model", scope="col") if several else None]
    heads += [element("th", name, scope="col", kind="number") for name in ("base", "compared")]
    heads += [element("th", element("div", ticks, kind="ticks"), scope="col", aria_label="difference, on an axis")]
    heads += [element("th", name, scope="col") for name in ("points [95 %]", "won / lost / equal", "sure?")]
    return element("tr", [one for one in heads if one is not None])


def _notes(one: Comparison) -> list[str]:
    said = [*one.notes]
    if one.n_only_a or one.n_only_b:
        said.append(f"{one.a.task}: {one.n_only_a + one.n_only_b:,} questions stand in one run only and are left out")
    if one.n_unanswered:
        said.append(f"{one.a.task}: {one.n_unanswered:,} questions lack an answer and are left out")
    if one.n_changed:
        said.append(f"{one.a.task}: {one.n_changed:,} questions have other targets")
    return said


def _plot(one: Difference, reach: float, colour: str) -> Element:
    """The difference on an axis from minus to plus `reach`."""
    if one.difference is None or one.low is None or one.high is None or one.unit != SHARE:
        return element("span", one.reason or "", kind="thin")

    def at(value: float) -> str:
        return f"{min(1.0, max(0.0, 0.5 + value / (2 * reach))):.4f}"

    seen_from = one.detectable or 0.0
    return element(
        "span",
        element("span", kind="band", __low=at(-seen_from), __high=at(seen_from)),
        element("span", kind="zero", __at="0.5"),
        element("span", kind="interval", __low=at(one.low), __high=at(one.high)),
        element("span", kind="dot" if one.is_sure else "dot open", __at=at(one.difference)),
        kind="axis long",
        __colour=colour,
        aria_hidden="true",
    )


def _points(one: Difference) -> list[Node]:
    if one.difference is None:
        return ["–"]
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


def _questions(
    results: Results,
    compared: Mapping[Task, Mapping[Entrant, Comparison]],
    base: Entrant,
    names: Mapping[Entrant, str],
) -> None:
    """The questions on which two of the models differ, the surest first."""
    st.subheader("Where they differ", anchor=False)
    tasks = {task[0]: task for task in compared}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        task = tasks[address.one_of("Task", "task", [*tasks], forgets=("slice", "skip", "with"), width=260)]
        held = compared[task]
        by_name = {names[one]: one for one in held}
        name = next(iter(by_name))
        if len(by_name) > 1:
            name = address.one_of("Model", "with", [*by_name], forgets=("skip",), width=300)
        comparison = held[by_name[name]]
        metric = comparison.differences[0].metric
        slices = [one.slice for one in comparison.differences if one.metric == metric]
        slice_ = ALL
        if len(slices) > 1:
            slice_ = address.one_of("Slice", "slice", slices, forgets=("skip",), width=210)
    skip = address.number("skip")
    ids = comparison.a.run_id, comparison.b.run_id
    found = _differing(results.name, results.changed, *ids, metric, slice_, skip, results.store)
    difference = comparison.of(metric, slice_)
    put(_cards(results, comparison, found, difference, (names[base], name), skip), "cards")


@st.cache_data(max_entries=200, show_spinner=False)
def _differing(
    name: str, changed: Changed, a: str, b: str, metric: str, slice: str, skip: int, _store: Store
) -> list[Differing]:
    return differing(_store, a, b, metric, slice=slice, limit=CARDS, offset=skip)


def _cards(
    results: Results,
    comparison: Comparison,
    found: Sequence[Differing],
    difference: Difference,
    names: tuple[str, str],
    skip: int,
) -> Element:
    if not found:
        return element("p", "On these questions both score the same.", kind="grey")
    ids = comparison.a.run_id, comparison.b.run_id
    other = [one.sample_id for one in found if not one.has_same_prompt]
    prompts = questions.prompts(results.store, ids, other)
    total = difference.wins + difference.losses
    ways = [
        link(address.here("compare", skip=max(0, skip - CARDS) or None), "back", kind="link") if skip else None,
        link(address.here("compare", skip=skip + CARDS), "next", kind="link") if skip + CARDS < total else None,
    ]
    said = f"{skip + 1:,}–{skip + len(found):,} of {total:,}, the largest difference and the surest answers first"
    cards = [_card(results, comparison, one, names, difference.unit, prompts) for one in found]
    parts = [part for way in ways if way for part in (" · ", way)]
    return element("div", element("p", said, parts, kind="grey small"), element("div", cards, kind="deck"))


def _card(
    results: Results,
    comparison: Comparison,
    one: Differing,
    names: tuple[str, str],
    unit: str,
    prompts: Mapping[tuple[str, str], str],
) -> Element:
    """One question: its picture, what both said, and whether they were asked alike."""
    own = one.image_digests[-1] if one.image_digests else "", one.image_paths[-1] if one.image_paths else ""
    sides = (
        (comparison.a, names[0], one.answer_a, one.score_a),
        (comparison.b, names[1], one.answer_b, one.score_b),
    )
    answers = [
        element(
            "tr",
            element("td", seen.mark(seen.verdict(score, None, None))),
            element(
                "td",
                link(address.to("samples", run=run.run_id, sample=one.sample_id), cut(answer or "(empty)", 160)),
                kind="said",
            ),
            element("td", one_score(score, unit), kind="number"),
            element("td", name, kind="thin"),
        )
        for run, name, answer, score in sides
    ]
    pair = [prompts.get((run.run_id, one.sample_id), "") for run in (comparison.a, comparison.b)]
    return element(
        "section",
        seen.thumbnail(results.sources, *own, "portrait", 2 * seen.pictures.THUMBNAIL_PX),
        element(
            "div",
            element("p", element("b", cut(one.question, 300))),
            element("p", "target: ", cut(" or ".join(dict.fromkeys(one.targets)), 200) or "–", kind="small grey"),
            element("table", element("tbody", answers)),
            element("p", "same prompt", kind="thin") if one.has_same_prompt else _apart(*pair),
            kind="texts",
        ),
        kind="card",
    )


def _apart(a: str, b: str) -> Element:
    """Two prompts with what only one of them holds marked."""
    left, right = WORDS.findall(a), WORDS.findall(b)
    matcher = difflib.SequenceMatcher(None, left, right, autojunk=False)
    sides: tuple[list[Node], list[Node]] = ([], [])
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        for side, words in zip(sides, ("".join(left[i1:i2]), "".join(right[j1:j2])), strict=True):
            if words:
                side.append(words if kind == "equal" else element("span", words, kind="differs"))
    shown = [element("div", side, kind="verbatim prompt") for side in sides]
    return element(
        "details", element("summary", "other prompts", kind="thin"), element("div", shown, kind="side-by-side")
    )
