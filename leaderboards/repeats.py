"""What a score does when the same task is asked again with another seed, or in another wording."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from leaderboards.records import Run, Score

Over = Literal["seed", "phrasing"]

Key = tuple[object, ...]


@dataclass(frozen=True)
class Spread:
    """One score over several runs that differ in their seed or their wording alone; the fields that `--json` prints.

    `values` are those of `runs`, one a seed or wording, in their order; a wording asked with several seeds counts with the
    mean of them. `std` is the standard deviation of a sample (n - 1), None for a single value.
    """

    over: Over
    model: str
    task: str
    metric: str
    variant: str
    slice: str
    mean: float
    std: float | None
    low: float
    high: float
    members: Sequence[str]
    values: Sequence[float]
    run_ids: Sequence[str]
    n: int
    unit: str
    num_fewshot: int
    shot_selection: str


def spreads(runs: Sequence[Run], over: Over, *, every_slice: bool = False) -> list[Spread]:
    """The spread of each score that at least two of the complete runs have, whichever way they were asked otherwise.

    Scores are compared under the same metric and variant only. Of every run its first score, or all of them.
    """
    groups: dict[Key, dict[str, list[tuple[Run, Score]]]] = {}
    known = {run.run_id: run for run in runs if run.status == "complete"}
    for run in known.values():
        for score in run.scores if every_slice else run.scores[:1]:
            if score.value is not None:
                members = groups.setdefault((*_asked(run, over), *_measured(score)), {})
                members.setdefault(str(getattr(run, over)), []).append((run, score))
    return [_spread(over, members) for members in groups.values() if len(members) > 1]


def _asked(run: Run, over: Over) -> Key:
    """What the runs of a spread share besides their score."""
    wording = run.phrasing if over == "seed" else None
    return run.model, run.model_digest, run.judge, run.task, run.split, run.num_fewshot, run.shot_selection, wording


def _measured(score: Score) -> Key:
    return score.metric, score.variant, score.slice, score.unit


def _spread(over: Over, members: dict[str, list[tuple[Run, Score]]]) -> Spread:
    values = [statistics.fmean(score.value or 0.0 for _, score in held) for held in members.values()]
    run, score = next(iter(members.values()))[0]
    return Spread(
        over=over,
        model=run.model,
        task=run.task,
        metric=score.metric,
        variant=score.variant,
        slice=score.slice,
        mean=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 else None,
        low=min(values),
        high=max(values),
        members=list(members),
        values=values,
        run_ids=[run.run_id for held in members.values() for run, _ in held],
        n=score.n,
        unit=score.unit,
        num_fewshot=run.num_fewshot,
        shot_selection=run.shot_selection,
    )
