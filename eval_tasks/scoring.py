"""From answered questions to a set's scores, and from a file of predictions made elsewhere to scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eval_tasks import layouts, metrics
from eval_tasks.errors import BadPredictions, PartialSet
from eval_tasks.metrics import HEADLINE, Figure, Item, Metric, MetricName, Outcome
from eval_tasks.task import Task
from leaderboards.records import ALL, Score, Term, on_slice
from leaderboards.statistics import Interval, interval, mean_of


@dataclass(frozen=True)
class Marked:
    """A set under one metric: each item's outcome, None without an answer; the set's scores, then those of its slices.

    `terms`: of each item, see `SampleRecord`.
    """

    outcomes: Sequence[Outcome | None]
    scores: Sequence[Score]
    terms: Sequence[Mapping[str, Sequence[Term]]]


@dataclass(frozen=True)
class _Part:
    """A slice of a set: its answered items by number, with their outcomes, and how many have no answer."""

    numbers: Sequence[int]
    items: Sequence[Item]
    outcomes: Sequence[Outcome]
    errors: int


def check(task: Task, limit: int | None, allow_partial: bool, names: Sequence[MetricName] | None = None) -> None:
    """Refuse, before anything is loaded or asked, what could not be scored in the end; `names` are the task's by default.

    Raises `MissingTool` for a metric whose tools are not installed, and `PartialSet` for a limited run under a metric
    whose value on a part of a benchmark is another figure.
    """
    for name in task.metrics if names is None else names:
        metric = task.metric(name)
        metric.check()
        if metric.needs_all and limit is not None and not allow_partial:
            raise PartialSet(
                f"{task.name}: {name} on a part of the questions is another figure than on all of them; leave --limit "
                "away, or accept that with --allow-partial"
            )


def mark(
    name: MetricName, items: Sequence[Item], mean_of_slices: Sequence[str] = (), metric: Metric | None = None
) -> Marked:
    """One metric on the whole, then on every slice. With `mean_of_slices`, all present, the whole is their mean.

    `metric`: what is meant by the name, by default the registry's.
    """
    metric = metric or metrics.get(name.metric, name.variant)
    answered = [item for item in items if item.has_answer]
    given = iter(metric.outcomes(answered))
    outcomes = [next(given) if item.has_answer else None for item in items]
    slices: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        for key, value in item.slices.items():
            slices.setdefault(f"{key}={value}", []).append(number)
    parts = {ALL: _part(items, outcomes, range(len(items)))}
    parts |= {label: _part(items, outcomes, numbers) for label, numbers in slices.items()}
    figures = {label: metric.figures(part.items, part.outcomes) for label, part in parts.items()}
    scores = {label: _scores(name, label, figures[label], part) for label, part in parts.items()}
    if mean_of_slices:
        scores[ALL] = {
            key: _mean(one, [scores.get(label, {}).get(key) for label in mean_of_slices])
            for key, one in scores[ALL].items()
        }
    return Marked(
        outcomes, [score for found in scores.values() for score in found.values()], _terms(name, figures, parts, items)
    )


def score_file(
    task: Task,
    name: MetricName | None,
    files: Sequence[Path],
    annotations: Sequence[Path] = (),
    data: Path | None = None,
    *,
    allow_missing: bool = False,
    split: str | None = None,
) -> Marked:
    """Predictions made elsewhere under a metric, by default the first of the task's that can read them.

    `split`: of the benchmark's own files in `data`, where the right answers come from those.

    Answers are taken as they stand, nothing is stripped. Questions without one are counted as errors in the scores.
    """
    if name is not None:
        metrics.get(name.metric, name.variant).check()
    found = layouts.read(task, files, annotations, data, allow_missing, split)
    has_options = any(item.prediction.option_logprobs for item in found.items)
    readable = [one for one in task.metrics if has_options or not metrics.get(one.metric, one.variant).needs_options]
    name = name or next(iter(readable), task.metrics[0])
    metric = metrics.get(name.metric, name.variant)
    if metric.needs_options and not has_options:
        raise BadPredictions(
            f"{files[0]}: {name} reads the scores of options (option_logprobs), and there are none in it"
        )
    metric.check()
    for item in found.items:
        scores, choices = item.prediction.option_logprobs, item.targets.choices
        if scores and choices and len(scores) != len(choices):
            raise BadPredictions(f"{files[0]}: {item.id!r} has {len(scores)} scores for {len(choices)} options")
    return mark(name, found.items, found.mean_of)


def ungraded(task: Task, items: Sequence[Item]) -> tuple[Score, ...]:
    """What stands for a score until a judge has graded the answers: no value, and how many answers there are."""
    name = task.metrics[0]
    answered = sum(item.has_answer for item in items)
    return (Score(name.metric, name.variant, ALL, None, None, None, None, n=answered, n_errors=len(items) - answered),)


def _part(items: Sequence[Item], outcomes: Sequence[Outcome | None], numbers: Sequence[int]) -> _Part:
    found = {number: outcome for number in numbers if (outcome := outcomes[number]) is not None}
    return _Part([*found], [items[number] for number in found], [*found.values()], len(numbers) - len(found))


def _scores(name: MetricName, label: str, figures: Mapping[str, Figure], part: _Part) -> dict[str, Score]:
    """A metric's figures on a slice. `n` counts what a figure is the mean of, which may be groups of questions."""
    unparsed = sum(outcome.problem != "" for outcome in part.outcomes)
    return {key: _score(name, key, label, figure, part, unparsed) for key, figure in figures.items()}


def _terms(
    name: MetricName, figures: Mapping[str, Mapping[str, Figure]], parts: Mapping[str, _Part], items: Sequence[Item]
) -> list[dict[str, Sequence[Term]]]:
    """What each item adds to the figures that are no mean of scores; to a slice's, where that is something else."""
    found: list[dict[str, Sequence[Term]]] = [{} for _ in items]
    for label, part in parts.items():
        for key, figure in figures[label].items():
            said = str(name) if key == HEADLINE else f"{name.metric}.{key}/{name.variant}"
            terms = figure.terms or _of_parts(figure, part)
            scores = zip(part.numbers, part.outcomes, strict=True)
            if terms and terms != [found[number].get(said, [Term("", one.score, 1.0)]) for number, one in scores]:
                for number, held in zip(part.numbers, terms, strict=True):
                    found[number][said if label == ALL else on_slice(said, label)] = held
    return found


def _of_parts(figure: Figure, part: _Part) -> list[list[Term]]:
    """The figure's parts as terms, where there is one an item."""
    return [[Term("", one, 1.0)] for one in figure.parts] if len(figure.parts) == len(part.items) else []


def _score(name: MetricName, key: str, label: str, figure: Figure, part: _Part, unparsed: int) -> Score:
    found = interval(figure.parts, figure.clusters) if len(figure.parts) and figure.value is not None else None
    return Score(
        metric=name.metric if key == HEADLINE else f"{name.metric}.{key}",
        variant=name.variant,
        slice=label,
        value=figure.value,
        low=found.low if found else None,
        high=found.high if found else None,
        stderr=found.stderr if found else None,
        n=len(figure.parts) or len(part.items),
        n_errors=part.errors,
        n_unparsed=unparsed,
        unit=figure.unit,
        interval=found.kind if found else None,
    )


def _mean(whole: Score, parts: Sequence[Score | None]) -> Score:
    """The whole with the unweighted mean of its parts' values; as it stands where a part has none."""
    known = [part for part in parts if part is not None and part.value is not None]
    if len(known) < len(parts):
        return whole
    intervals = [_interval(part) for part in known]
    if any(one is None for one in intervals):
        value = sum(part.value for part in known if part.value is not None) / len(known)
        return replace(whole, value=value, low=None, high=None, stderr=None, interval=None)
    found = mean_of([one for one in intervals if one is not None])
    ends = {"low": found.low, "high": found.high, "stderr": found.stderr}
    return replace(whole, value=found.value, **ends, interval=found.kind)


def _interval(score: Score) -> Interval | None:
    if score.value is None or score.low is None or score.high is None or score.stderr is None:
        return None
    return Interval(score.value, score.low, score.high, score.stderr)
