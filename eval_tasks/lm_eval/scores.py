"""lm-eval's metrics as ours: its name is the metric, the name of the filter that its answers went through the variant."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eval_tasks.metrics import HEADLINE, Figure, Item, Metric, MetricName, Outcome
from leaderboards.records import POINTS, SHARE

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask

Values = Callable[[Sequence[Item]], Sequence[Any]]
"""What lm-eval makes of each answer, None where it says nothing: a number, or what its aggregation takes."""

NOT_TOLD = "not scored"


def names(task: ConfigurableTask) -> tuple[MetricName, ...]:
    """Every metric of the task behind every one of its filters."""
    filters = [one.name for one in task._filters]  # pyright: ignore[reportPrivateUsage] - lm-eval has no other word for it
    return tuple(MetricName(metric, name) for name in filters for metric in task.aggregation())


def metric(task: ConfigurableTask, name: MetricName, values: Values) -> Metric:
    """The metric, whose figure is lm-eval's own aggregation of the values."""

    def outcomes(items: Sequence[Item]) -> Sequence[Outcome]:
        return [_outcome(task, name, value) for value in values(items)]

    def figures(items: Sequence[Item], found: Sequence[Outcome]) -> Mapping[str, Figure]:
        told = [(one.read, item.document) for item, one in zip(items, found, strict=True) if not one.problem]
        return {HEADLINE: _figure(task, name, [value for value, _ in told], [document for _, document in told])}

    return Metric(outcomes, f"lm-eval's {name.metric} behind its filter {name.variant}", figures)


def seeded() -> None:
    """Set the generators that lm-eval's tasks draw from as its own evaluation sets them."""
    from lm_eval.defaults import DEFAULT_OTHER_SEED, DEFAULT_RANDOM_SEED

    random.seed(DEFAULT_RANDOM_SEED)
    np.random.seed(DEFAULT_OTHER_SEED)


def _outcome(task: ConfigurableTask, name: MetricName, value: Any) -> Outcome:
    if value is None:
        return Outcome(0.0, None, NOT_TOLD)
    return Outcome(float(value) if _is_number(value) else _whole(task, name, [value]), value)


def _figure(task: ConfigurableTask, name: MetricName, values: Sequence[Any], documents: Sequence[str]) -> Figure:
    if not values:
        return Figure(None)
    from lm_eval.api.metrics import mean

    value = _whole(task, name, values)
    is_mean = task.aggregation().get(name.metric, mean) is mean and all(map(_is_number, values))
    rises = bool(task.higher_is_better().get(name.metric, True))
    unit = SHARE if rises and 0 <= value <= 1 else POINTS
    known = None if math.isnan(value) else value
    return Figure(known, [float(one) for one in values] if is_mean else (), documents if is_mean else (), unit)


def _whole(task: ConfigurableTask, name: MetricName, values: Sequence[Any]) -> float:
    from lm_eval.api.metrics import mean

    return float(task.aggregation().get(name.metric, mean)(list(values)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number)
