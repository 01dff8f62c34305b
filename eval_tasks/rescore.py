"""Stored answers under the present metrics: no model is asked, the old scores are kept aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from eval_tasks import fitting, judging
from eval_tasks import task as tasks
from eval_tasks.errors import BadRow, MissingData
from eval_tasks.metrics import Item, MetricName, Prediction, Targets, named
from eval_tasks.scoring import Marked, check, mark, ungraded
from eval_tasks.task import Sample, Task
from leaderboards.errors import BadStore
from leaderboards.moving import keep_aside
from leaderboards.records import Run, SampleRecord
from leaderboards.store import Store


@dataclass(frozen=True)
class Rescored:
    """A run before and after, with how many samples' scores changed under the metrics that it had, and those that came.

    `aside`: where the old files are, None where nothing was written.
    """

    before: Run
    after: Run
    n_changed: int
    added: Sequence[str]
    aside: Path | None


def rescore(store: Store, prefix: str, data: Path | None = None, more: Sequence[MetricName] = ()) -> Rescored:
    """Mark a finished run's answers again and write its scores, in its place. Where nothing changes nothing is written.

    `more` metrics come to the task's own and to those that the run was told, and stay the run's. Raises `UnknownTask` for
    one that does not fit the task.

    Right answers come from the benchmark's files where they are found (`data`, else where the run had them), otherwise
    from the stored samples, which lack what single metrics need besides; raises `MissingData` then. A judge's run is marked
    by what the judge said, which its samples hold.
    """
    run = store.run(prefix)
    if run.status == "running":
        raise BadStore(f"run {run.run_id} is not finished; the same flab eval command goes on with it, then rescore")
    task = tasks.as_read(run.task, run.versions.get("data") if data is None else None)
    options = frozenset(run.settings.get("options") or ())
    wording = task.wording(run.phrasing)
    is_grading = run.judge is not None
    own = task.metrics if is_grading else task.metrics_of(wording, options)
    mean_of = tuple(run.mean_of if is_grading else task.mean_of)
    told = [*map(named, run.settings.get("also") or ()), *more]
    names = tuple(dict.fromkeys((*own, *told)))
    check(task, run.limit, True, names)
    check(task, run.limit, bool(run.settings.get("allow_partial")), more)
    with store.begin(run.run_id) as folder:
        found = store.samples(run.run_id)
        samples = [SampleRecord.of_row(found.columns, row) for row in found.fetchall()]
        items = _graded(task, samples) if is_grading else _items(task, run, samples, data)
        for name in more:
            fitting.check(name, task, wording, items)
        marked = _marked(names, items, mean_of, run)
        after = [_sample(sample, marked, number) for number, sample in enumerate(samples)]
        scores = tuple(score for one in marked.values() for score in one.scores) or ungraded(task, items)
        had = {key for sample in samples for key in sample.scores}
        n_changed = sum(
            one.scores != {key: score for key, score in other.scores.items() if key in had}
            for one, other in zip(samples, after, strict=True)
        )
        if after == samples and scores == tuple(run.scores):
            return Rescored(run, run, 0, (), None)
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        settings = {**run.settings, "also": [str(name) for name in dict.fromkeys(told)]}
        finished = replace(run, scores=scores, rescored=now, mean_of=mean_of, settings=settings)
        aside = keep_aside(store, run)
        folder.finish(finished, after)
        return Rescored(run, finished, n_changed, [name for name in map(str, names) if name not in had], aside)


def _items(task: Task, run: Run, samples: Sequence[SampleRecord], data: Path | None) -> list[Item]:
    """The stored answers with the right ones."""
    known = _known(task, run, data)
    lacking = [sample.sample_id for sample in samples if known and sample.sample_id not in known]
    if lacking:
        raise MissingData(
            f"{task.name}: {len(lacking)} of the run's questions, {lacking[0]} for example, are not in the "
            f"{run.split} split of these files; --data names those that the run had"
        )
    return [_item(sample, known.get(sample.sample_id)) for sample in samples]


def _graded(task: Task, samples: Sequence[SampleRecord]) -> list[Item]:
    """The grades in what a judge said."""
    said = [replace(sample, answer=(sample.answer_raw or "").strip()) for sample in samples]
    return [judging.heard(judging.rubric_of(task), _item(sample, None)) for sample in said]


def _known(task: Task, run: Run, data: Path | None) -> Mapping[str, Sample]:
    """The task's samples by id, as the run had them; none where its files are not found and were not asked for."""
    held = run.settings.get("data")
    where = data or (Path(held) if held else None)
    try:
        samples = task.samples(run.split, where)
    except MissingData:
        if data is not None:
            raise
        return {}
    options = frozenset(run.settings.get("options") or ())
    return {sample.id: sample for sample in task.altered(samples, run.seed, options)}


def _item(record: SampleRecord, sample: Sample | None) -> Item:
    ranked = record.option_logprobs
    return Item(
        prediction=Prediction(record.answer or "", None if ranked is None else tuple((one,) for one in ranked)),
        targets=Targets(sample.targets, sample.choices, sample.facts)
        if sample
        else Targets(tuple(record.targets), tuple(record.choices)),
        id=record.sample_id,
        document=record.document,
        slices=record.slices,
        has_answer=record.error_kind is None,
    )


def _marked(names: Sequence[MetricName], items: Sequence[Item], mean_of: Sequence[str], run: Run) -> dict[str, Marked]:
    try:
        return {str(name): mark(name, items, mean_of) for name in names}
    except BadRow as error:
        raise MissingData(f"run {run.run_id}: {error}; --data DIR names the benchmark's files that have it") from None


def _sample(record: SampleRecord, marked: Mapping[str, Marked], number: int) -> SampleRecord:
    known = {key: outcome for key, one in marked.items() if (outcome := one.outcomes[number]) is not None}
    return replace(
        record,
        scores={key: outcome.score for key, outcome in known.items()},
        problems={key: outcome.problem for key, outcome in known.items() if outcome.problem},
        terms={key: held for one in marked.values() for key, held in one.terms[number].items()},
    )
