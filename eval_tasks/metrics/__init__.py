"""The metrics, one file each, found by being in this folder and by the variants that each one names.

A metric first gives each answer of a set its `Outcome`, then the set, and every slice of it, its `Figure`s.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from eval_tasks.errors import BadRow, UnknownTask
from eval_tasks.nearest import near
from leaderboards.records import SHARE, Term


@dataclass(frozen=True)
class MetricName:
    """A metric and which of its variants."""

    metric: str
    variant: str

    def __str__(self) -> str:
        return f"{self.metric}/{self.variant}"


@dataclass(frozen=True)
class Prediction:
    """What a model answered. A type of its own, so that it cannot change places with the targets.

    `option_logprobs` holds, for ranked options, the log-probabilities of each one's tokens, or its one score;
    `option_is_greedy` whether greedy decoding says it, where the model tells. `tags` are the answer's words with their parts
    of speech, where somebody has tagged it already.
    """

    text: str
    option_logprobs: tuple[tuple[float, ...], ...] | None = None
    tags: tuple[tuple[str, str], ...] | None = None
    option_is_greedy: tuple[bool, ...] | None = None


@dataclass(frozen=True)
class Targets:
    """The right answers, as they stand in the benchmark's files; for multiple choice, letters: A is the first of `choices`.

    `facts` is what single metrics need besides, by the names that their files give.
    """

    texts: tuple[str, ...]
    choices: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def fact(self, name: str) -> Any:
        """One of the facts. Raises `BadRow` where the sample lacks it."""
        if name not in self.facts:
            raise BadRow(
                f"a sample lacks {name!r}, which its metric needs; its facts are {sorted(self.facts) or 'none'}"
            )
        return self.facts[name]


@dataclass(frozen=True)
class Item:
    """One question of a set with its answer. Without `has_answer` the model failed on it, which is no wrong answer."""

    prediction: Prediction
    targets: Targets
    id: str = ""
    document: str = ""
    slices: Mapping[str, str] = field(default_factory=dict[str, str])
    has_answer: bool = True


@dataclass(frozen=True)
class Outcome:
    """What one answer is worth, 0..1 where the metric is a share.

    `read` is what the rule made of the answer: the normalised text, the letter, the box. `problem` says in two or three
    words why it could make nothing of it ("no letter"); such an answer counts as wrong and is reported as unparsed.
    """

    score: float
    read: Any = None
    problem: str = ""


@dataclass(frozen=True)
class Figure:
    """A number that describes a set, None where the rule does not define it.

    `parts` are the values it is the mean of (for a ratio of sums, its linearisation), and `clusters` names for each one
    what it shares with others; an interval comes from them. Without parts there is none. `terms` says for each item what it
    adds, where that is not one part an item; two models are compared by them.
    """

    value: float | None
    parts: Sequence[float] = ()
    clusters: Sequence[str] = ()
    unit: str = SHARE
    terms: Sequence[Sequence[Term]] = ()


Rule = Callable[[Prediction, Targets], Outcome]
Outcomes = Callable[[Sequence[Item]], Sequence[Outcome]]
Figures = Callable[[Sequence[Item], Sequence[Outcome]], Mapping[str, Figure]]


HEADLINE = ""
"""The name of a metric's main figure; the others stand as METRIC.NAME beside it."""


def mean(items: Sequence[Item], outcomes: Sequence[Outcome]) -> Mapping[str, Figure]:
    """The mean score of the answers."""
    scores = [outcome.score for outcome in outcomes]
    return {HEADLINE: mean_figure(scores, [item.document for item in items])}


def mean_figure(
    values: Sequence[float], clusters: Sequence[str], unit: str = SHARE, terms: Sequence[Sequence[Term]] = ()
) -> Figure:
    """The mean of values, undefined where there are none."""
    return Figure(sum(values) / len(values) if values else None, values, clusters, unit, terms)


def mean_over(items: Sequence[Item], values: Sequence[float | None]) -> Figure:
    """The mean of the values of those items that have one."""
    known = [(value, item.document) for item, value in zip(items, values, strict=True) if value is not None]
    terms = [[] if value is None else [Term("", value, 1.0)] for value in values]
    return mean_figure([value for value, _ in known], [document for _, document in known], terms=terms)


def ratio_figure(above: Sequence[float], below: Sequence[float], clusters: Sequence[str]) -> Figure:
    """The sum of `above` over the sum of `below`, undefined where that is 0.

    Its parts are value + (a - value b) / mean(b): their mean is the ratio, their spread its first-order spread (the
    linearised ratio estimator, Cochran 1977, section 6.4).
    """
    total = sum(below)
    if not total:
        return Figure(None)
    value, mean_below = sum(above) / total, total / len(below)
    parts = [value + (a - value * b) / mean_below for a, b in zip(above, below, strict=True)]
    terms = [[Term("", a, b)] for a, b in zip(above, below, strict=True)]
    return Figure(value, parts, clusters, terms=terms)


@dataclass(frozen=True)
class Metric:
    """One variant of a metric. `outcomes` answers in the items' order.

    With `needs_all` a part of a benchmark would have another score, not an estimate of the same one. With `needs_options`
    it reads the scores of ranked options, never words. `check` raises a `TaskError` where something that the metric runs is
    not installed.
    """

    outcomes: Outcomes
    about: str
    figures: Figures = mean
    needs_all: bool = False
    needs_options: bool = False
    check: Callable[[], None] = lambda: None

    def outcome(self, prediction: Prediction, targets: Targets) -> Outcome:
        """The outcome of a single answer."""
        return self.outcomes([Item(prediction, targets)])[0]


def each(
    rule: Rule,
    figures: Figures = mean,
    *,
    needs_all: bool = False,
    needs_options: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Metric:
    """A metric whose rule looks at one answer at a time."""

    def outcomes(items: Sequence[Item]) -> Sequence[Outcome]:
        return [rule(item.prediction, item.targets) for item in items]

    return Metric(outcomes, about(rule), figures, needs_all, needs_options, check)


def about(rule: Callable[..., Any]) -> str:
    """The first line of a rule's docstring, which `flab show task` prints."""
    return (rule.__doc__ or "").split("\n")[0]


def names() -> list[str]:
    """The names of all metrics."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def definition(metric: str) -> str:
    """What a metric measures: the first paragraph of its file's docstring."""
    return (importlib.import_module(f"{__name__}.{metric}").__doc__ or "").split("\n\n")[0].strip()


def variants(metric: str) -> Mapping[str, Metric]:
    """A metric's variants by name, the official one first."""
    if metric not in names():
        found = near(metric, names())
        hint = (
            f"did you mean {' or '.join(found)}? (all: flab list metrics)" if found else "flab list metrics shows all"
        )
        raise UnknownTask(f"unknown metric {metric!r}: {hint}")
    return importlib.import_module(f"{__name__}.{metric}").VARIANTS


def named(name: str) -> MetricName:
    """The metric that METRIC/VARIANT is the name of. Raises `UnknownTask` with the nearest names."""
    metric, slash, variant = name.partition("/")
    if not slash:
        example = MetricName(metric, next(iter(variants(metric))))
        raise UnknownTask(f"metric {name!r}: METRIC/VARIANT is expected, {example} for example")
    get(metric, variant)
    return MetricName(metric, variant)


def get(metric: str, variant: str) -> Metric:
    """The variant of a metric. Raises `UnknownTask` with the nearest names."""
    there = variants(metric)
    if variant not in there:
        raise UnknownTask(f"metric {metric} has no variant {variant!r}; there are {', '.join(there)}")
    return there[variant]
