"""Which metrics read the answers to a task's questions, found out by what each makes of the right answers."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from eval_tasks import metrics
from eval_tasks.errors import BadRow, MissingTool, UnknownTask
from eval_tasks.metrics import Item, Metric, MetricName, Prediction
from eval_tasks.task import Task
from eval_tasks.wording import Wording

T = TypeVar("T")

TRIED = 50
"""Questions whose right answers are tried, spread over all."""

NAMED = 8
"""Fitting metrics that a message names at most."""

OF_KIND = {"captions": "captions", "spice": "captions", "grades": "grades"}
"""Metrics that are too slow to be tried, or read no answers, and what the tasks that they fit have among their own."""

LIKELY, UNLIKELY = (0.0,), (-9.0,)
"""Log-probabilities of the option that is tried, and of the others."""


def spread(held: Sequence[T]) -> Sequence[T]:
    """Some of them, evenly spaced."""
    return held[:: max(1, len(held) // TRIED)][:TRIED]


def check(name: MetricName, task: Task, wording: Wording, items: Sequence[Item]) -> None:
    """Refuse a metric that does not fit, with those that do. Raises `UnknownTask`."""
    if reason := unfit(name, task, wording, items):
        raise UnknownTask(f"--metric {name} does not fit {task.name}: {reason}{hint(name, task, wording, items)}")


def unfit(name: MetricName, task: Task, wording: Wording, items: Sequence[Item]) -> str:
    """Why a metric does not read the answers to such questions in this wording; nothing where it does."""
    if name in task.metrics_of(wording, frozenset()):
        return ""
    if task.rubric is not None:
        return "a judge grades its answers (flab grade)"
    if type(task).metric is not Task.metric:
        return "its metrics are its own"
    metric = metrics.get(name.metric, name.variant)
    if reason := unread(name, wording):
        return reason
    if kind := OF_KIND.get(name.metric):
        has_kind = any(own.metric == kind for own in task.metrics)
        return "" if has_kind else f"it is for tasks that are scored by {kind}"
    try:
        share = _share_right(metric, wording, spread(items))
    except BadRow as error:
        return str(error)
    return "" if share >= 0.5 else "it finds most of the right answers wrong"


def unread(name: MetricName, wording: Wording) -> str:
    """Why a metric cannot read the answers to this wording, whatever the questions are; nothing where it can."""
    if wording.box:
        return f"the wording {wording.name} asks for boxes, which are read in its own notation"
    if metrics.get(name.metric, name.variant).needs_options and not wording.rank:
        return f"it reads the scores of ranked options, and the wording {wording.name} ranks none"
    return ""


def hint(name: MetricName, task: Task, wording: Wording, items: Sequence[Item]) -> str:
    """The end of a message: those that fit, the other variants first, then other variants of the task's own metrics."""
    kinds = dict.fromkeys((name.metric, *(own.metric for own in task.metrics), *metrics.names()))
    every = (
        MetricName(kind, variant) for kind in kinds if kind in metrics.names() for variant in metrics.variants(kind)
    )
    fitting = [str(one) for one in every if _is_there(one) and not unfit(one, task, wording, items)][:NAMED]
    return f"; {', '.join(fitting)} do" if fitting else "; none does"


def _is_there(name: MetricName) -> bool:
    try:
        metrics.get(name.metric, name.variant).check()
    except MissingTool:
        return False
    return True


def _share_right(metric: Metric, wording: Wording, items: Sequence[Item]) -> float:
    """On which share of the questions some form of a right answer counts. Raises `BadRow` where a fact is missing."""
    tried = [
        (number, replace(item, prediction=one)) for number, item in enumerate(items) for one in _right(item, wording)
    ]
    outcomes = metric.outcomes([item for _, item in tried])
    right = {
        number
        for (number, _), outcome in zip(tried, outcomes, strict=True)
        if outcome.score > 0 and not outcome.problem
    }
    return len(right) / len(items) if items else 0.0


def _right(item: Item, wording: Wording) -> Iterator[Prediction]:
    """Right answers as models may write them; where options are ranked each one in turn, the right one among them."""
    texts, choices = dict.fromkeys(item.targets.texts), item.targets.choices
    if wording.rank:
        for place, letter in enumerate(string.ascii_uppercase[: len(choices)]):
            scores = tuple(LIKELY if other == place else UNLIKELY for other in range(len(choices)))
            yield from (Prediction(text, scores) for text in (letter, choices[place]))
        return
    yield from map(Prediction, texts)
    if choices:
        yield from (Prediction(f"The answer is {text}.") for text in texts)
