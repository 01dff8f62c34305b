"""Compare: is A better than B, where, and by how much?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial

import streamlit as st

from dashboard import address, colours
from dashboard.cards import CARDS, cards
from dashboard.forest import Line, forest
from dashboard.ranks import entrants, in_short, newest
from dashboard.results import Results
from dashboard.shown import show as put
from dashboard.tree import Element, element
from dashboard.views import titled
from dashboard.workshop import PATIENCE_SECONDS, WAIT_SECONDS, workshop
from leaderboards.compare import Comparison, Differing, compare, differing, together
from leaderboards.entrants import Entrant
from leaderboards.errors import NotComparable
from leaderboards.records import ALL, Run
from leaderboards.store import Store
from leaderboards.tasks import Task, called

TITLE = "Compare"
PLACE = 2

MOST_OTHERS = 3

OF_CARDS = ("skip", "prompt")
"""Parameters that belong to the questions that are shown."""

Asked = tuple[str, ...]


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
    held = newest(results.runs)
    base_key, other_keys = _choice(held, there, names)
    base, others = there[base_key], [there[one] for one in other_keys]
    with head:
        titled(TITLE, f"{' and '.join(names[one] for one in others)} against {names[base]}", results)
    tasks = called(results.runs)
    compared, waiting = _compared(results, base, others, held, tasks)
    if not compared:
        st.text("These have no question in common. Choose others, or ask both models the same task.")
        return
    lines = [
        Line(task, other, one)
        for task, found in compared.items()
        for other, comparison in found.items()
        for one in comparison.differences
    ]
    put(_verdict(lines, base, others, names), "verdict")
    if waiting:
        _wait(waiting, len(compared) + len(waiting))
    put(forest(lines, compared, names, tasks, colours.of_models(results.runs)), "forest")
    _questions(results, compared, base, names, tasks)


def _choice(
    runs: Mapping[Entrant, Mapping[Task, Run]], there: Mapping[str, Entrant], names: Mapping[Entrant, str]
) -> tuple[str, list[str]]:
    """The row that the others are set against, and those.

    By default the one with most tasks, and another model on them that may share most questions with it.
    """
    keys = [*there]
    held = {one: runs[there[one]] for one in keys}
    most = max(keys, key=lambda one: (len(held[one]), sum(run.n for run in held[one].values())))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        base = address.one_of("Against", "a", keys, most, says=lambda one: names[there[one]], width=380)
        rest = [one for one in keys if one != base]
        alike = {
            one: (
                len(held[one].keys() & held[base].keys()),
                there[one].digest != there[base].digest,
                sum(min(held[one][task].n, held[base][task].n) for task in held[one].keys() & held[base].keys()),
                there[one].num_fewshot == there[base].num_fewshot,
            )
            for one in rest
        }
        usual = [max(rest, key=alike.__getitem__)]
        others = address.several(
            "Compared", "b", rest, usual, says=lambda one: names[there[one]], most=MOST_OTHERS, placeholder="choose"
        )
    return base, others or usual


Compared = Mapping[Task, Mapping[Entrant, Comparison]]
Work = Sequence[Future[Comparison | None]]


def _compared(
    results: Results,
    base: Entrant,
    others: Sequence[Entrant],
    runs: Mapping[Entrant, Mapping[Task, Run]],
    tasks: Mapping[Task, str],
) -> tuple[Compared, Mapping[Task, Work]]:
    """Each task's comparisons, with one correction over the others, and the tasks that are being worked out still.

    The task whose questions are shown, or else the first, is waited for.
    """
    wanted: dict[Asked, Callable[[], Comparison | None]] = {}
    places: dict[Task, list[tuple[Entrant, Asked]]] = {}
    for task in _in_order(runs[base], tasks):
        run = runs[base][task]
        metric = f"{run.scores[0].metric}/{run.scores[0].variant}"
        for one in others:
            if task in runs[one]:
                ids = run.run_id, runs[one][task].run_id
                asked = results.name, results.changed, *ids, metric
                wanted[asked] = partial(_comparison, results.store, *ids, metric)
                places.setdefault(task, []).append((one, asked))
    futures = dict(zip(wanted, workshop("comparisons").ask(wanted), strict=True))
    found: dict[Task, dict[Entrant, Comparison]] = {}
    waiting: dict[Task, Work] = {}
    until = time.monotonic() + PATIENCE_SECONDS
    for task, asked in places.items():
        work = [futures[key] for _, key in asked]
        wait(work, None if not found else max(0.0, until - time.monotonic()))
        if not all(future.done() and not future.cancelled() for future in work):
            waiting[task] = work
            continue
        able = {one: held for (one, _), future in zip(asked, work, strict=True) if (held := future.result())}
        if able:
            found[task] = dict(zip(able, together([*able.values()]), strict=True))
    return {task: found[task] for task in sorted(found)}, waiting


def _in_order(found: Iterable[Task], tasks: Mapping[Task, str]) -> list[Task]:
    """The task of the address first."""
    return sorted(found, key=lambda task: (tasks[task] != address.get("task"), task))


def _comparison(store: Store, base: str, other: str, metric: str) -> Comparison | None:
    """Two runs under a metric; None where they share no question, or not the metric."""
    try:
        return compare(store, base, other, metrics=[metric])
    except NotComparable:
        return None


@st.fragment(run_every=WAIT_SECONDS)
def _wait(waiting: Mapping[Task, Work], tasks: int) -> None:
    """Say what is being worked out, and show it once it is."""
    done = tasks - len(waiting)
    st.text(f"{done} of {tasks} tasks; the others are being compared …")
    if any(all(future.done() for future in work) for work in waiting.values()):
        st.rerun()


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


def _questions(
    results: Results,
    compared: Mapping[Task, Mapping[Entrant, Comparison]],
    base: Entrant,
    names: Mapping[Entrant, str],
    tasks: Mapping[Task, str],
) -> None:
    """The questions on which two of the models differ, the surest first."""
    st.subheader("Where they differ", anchor=False)
    by_task = {tasks[task]: held for task, held in compared.items()}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        held = by_task[address.one_of("Task", "task", [*by_task], forgets=("slice", "with", *OF_CARDS), width=260)]
        by_name = {names[one]: one for one in held}
        name = next(iter(by_name))
        if len(by_name) > 1:
            name = address.one_of("Model", "with", [*by_name], forgets=OF_CARDS, width=300)
        comparison = held[by_name[name]]
        metric = comparison.differences[0].metric
        slices = [one.slice for one in comparison.differences if one.metric == metric]
        slice_ = ALL
        if len(slices) > 1:
            slice_ = address.one_of("Slice", "slice", slices, forgets=OF_CARDS, width=210)
    skip = address.number("skip")
    ids = comparison.a.run_id, comparison.b.run_id
    difference = comparison.of(metric, slice_)
    found = _differing(results.name, results.changed, *ids, difference.carried or metric, slice_, skip, results.store)
    put(cards(results, comparison, found, difference, (names[base], name), skip), "cards")


@st.cache_data(max_entries=200, show_spinner=False)
def _differing(
    name: str, changed: str, a: str, b: str, metric: str, slice: str, skip: int, _store: Store
) -> list[Differing]:
    return differing(_store, a, b, metric, slice=slice, limit=CARDS, offset=skip)
