"""From scored samples to a run's scores, and from a file of predictions made elsewhere to scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval_tasks import metrics
from eval_tasks.metrics import Prediction, Targets
from eval_tasks.predictions import Predicted, read
from eval_tasks.task import MetricName, Task
from leaderboards.records import ALL, SampleRecord, Score
from leaderboards.statistics import Interval, interval, mean_of


@dataclass(frozen=True)
class Scored:
    """What a score is made of: one answer's value under one metric, its cluster, its slices; None for an error."""

    value: float | None
    document: str
    slices: Mapping[str, str]


def overall(task: Task, samples: Sequence[SampleRecord]) -> tuple[Score, ...]:
    """The scores of all metrics on the whole and on every slice."""

    def scored(name: MetricName) -> list[Scored]:
        return [Scored(sample.scores.get(str(name)), sample.document, sample.slices) for sample in samples]

    return tuple(score for name in task.metrics for score in scores(name, scored(name), task.mean_of))


def scores(name: MetricName, items: Sequence[Scored], mean_of_slices: Sequence[str] = ()) -> list[Score]:
    """One metric on the whole, then on every slice. With `mean_of_slices`, all present, the whole is their mean."""
    slices: dict[str, list[Scored]] = {}
    for item in items:
        for key, value in item.slices.items():
            slices.setdefault(f"{key}={value}", []).append(item)
    measured = {label: _measure(held) for label, held in slices.items()}
    parts = [measured.get(label) for label in mean_of_slices]
    known = [part for part in parts if part is not None]
    whole = mean_of(known) if parts and len(known) == len(parts) else _measure(items)
    return [
        _score(name, label, held, found)
        for label, held, found in [(ALL, items, whole), *((label, slices[label], measured[label]) for label in slices)]
    ]


def score_file(
    task: Task, name: MetricName, files: Sequence[Path], annotations: Sequence[Path], data: Path | None
) -> list[Score]:
    """Scores of predictions made elsewhere; answers are taken as they stand, nothing is stripped."""
    found = read(task, files, annotations, data)
    score = metrics.scorer(name.metric, name.variant)
    return scores(name, [_scored(score, one) for one in found], _mean_of(task, found))


def _mean_of(task: Task, found: Sequence[Predicted]) -> Sequence[str]:
    """A file brings its own names for the parts of a task whose score is a mean of parts: all of its slices."""
    if not task.mean_of:
        return ()
    return sorted({f"{key}={value}" for one in found for key, value in one.slices.items()})


def _scored(score: Callable[[Prediction, Targets], float], one: Predicted) -> Scored:
    return Scored(score(Prediction(one.answer), Targets(one.targets)), one.document, one.slices)


def _measure(items: Sequence[Scored]) -> Interval | None:
    known = [(item.value, item.document) for item in items if item.value is not None]
    return interval([value for value, _ in known], [document for _, document in known]) if known else None


def _score(name: MetricName, label: str, items: Sequence[Scored], found: Interval | None) -> Score:
    errors = sum(item.value is None for item in items)
    return Score(
        metric=name.metric,
        variant=name.variant,
        slice=label,
        value=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        stderr=found.stderr if found else None,
        n=len(items) - errors,
        n_errors=errors,
    )
