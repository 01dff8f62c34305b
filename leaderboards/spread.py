"""What a score does when the same task is asked again with another seed, or in another wording.

Runs that differ in nothing else answer the same questions, so what lies between them holds two parts: how much the seed moves
every question alike, and what single questions do by chance. A two-way layout of questions and runs tells them apart
(Searle, Casella and McCulloch 1992, section 4.7), questions of one document taken together.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from leaderboards.answered import Answered, answered_by
from leaderboards.entrants import entrant
from leaderboards.records import SHARE, Run, Score, headline, score_of
from leaderboards.statistics import around
from leaderboards.store import Store

Over = Literal["seed", "phrasing"]

SEED_OF_DECODING = re.compile(r"\bseed=\d+")
"""Where sampling writes its seed."""

Members = Mapping[str, Sequence[Run]]


@dataclass(frozen=True)
class Component:
    """What a two-way layout says. `deviation`: the standard deviation that the runs' choice alone gives a score, at least 0.

    `stderr`: of the mean over runs and questions, as an estimate for other questions and other seeds. `p_value`: of no
    such component (F test; the documents' number gives the degrees of freedom).
    """

    mean: float
    stderr: float
    deviation: float
    p_value: float


@dataclass(frozen=True)
class Spread:
    """One score over several runs that differ in their seed or their wording alone; the fields that `--json` prints.

    `values` are those of `members` in their order, from `least` to `most`; a wording asked with several seeds counts with the
    mean of them. `std` is the standard deviation between them (m - 1) with its 95 % interval (chi-squared), which is None where
    all are equal: that says little of the next seed. `low`, `high`: the mean's 95 % interval, for other questions and other
    seeds; it and `component` are None for scores that are no sum over shared questions.
    """

    over: Over
    model: str
    task: str
    split: str
    metric: str
    variant: str
    slice: str
    mean: float
    low: float | None
    high: float | None
    std: float
    std_low: float | None
    std_high: float | None
    least: float
    most: float
    members: Sequence[str]
    values: Sequence[float]
    run_ids: Sequence[str]
    component: Component | None
    n: int
    unit: str
    num_fewshot: int
    shot_selection: str


def spreads(
    store: Store, runs: Sequence[Run], *, every_slice: bool = False, also: Collection[str] = ()
) -> list[Spread]:
    """Of complete runs every two or more that differ in their seed alone, then those that differ in their wording alone.

    Of each run its first score and those by the METRIC/VARIANT of `also`, or all of them; only the same metric and variant
    are put together.
    """
    known = {run.run_id: run for run in runs if run.status == "complete"}
    found: list[Spread] = []
    for over in ("seed", "phrasing"):
        groups: dict[object, dict[str, list[Run]]] = {}
        heads: dict[object, Score] = {}
        for run in known.values():
            for score in run.scores if every_slice else headline(run, also=also):
                if score.value is not None:
                    key = *_asked(run, over), score.metric, score.variant, score.slice, score.unit
                    groups.setdefault(key, {}).setdefault(str(getattr(run, over)), []).append(run)
                    heads.setdefault(key, score)
        found += [_spread(store, over, members, heads[key]) for key, members in groups.items() if len(members) > 1]
    return found


def _asked(run: Run, over: Over) -> tuple[object, ...]:
    """What the runs of a spread share besides their score."""
    one = entrant(run)
    alike = replace(one, seed=0, decoding=_seedless(one.decoding), wording="" if over == "phrasing" else one.wording)
    # A wording may bring its own decoding; another seed may not.
    own = (run.phrasing, _seedless(run.decoding)) if over == "seed" else ()
    return alike, run.judge, run.task, run.split, own


def _seedless(decoding: str) -> str:
    return SEED_OF_DECODING.sub("seed", decoding)


def _spread(store: Store, over: Over, members: Members, head: Score) -> Spread:
    metric = f"{head.metric}/{head.variant}"
    values = [statistics.fmean(_value(run, metric, head.slice) for run in runs) for runs in members.values()]
    run = next(iter(members.values()))[0]
    mean, std = statistics.fmean(values), statistics.stdev(values)
    found = _component(store, members, metric, head.slice)
    low, high = around(mean, found.stderr, head.n, is_share=head.unit == SHARE) if found else (None, None)
    std_low, std_high = deviation_interval(std, len(values)) if std else (None, None)
    return Spread(
        over=over,
        model=run.model,
        task=run.task,
        split=run.split,
        metric=head.metric,
        variant=head.variant,
        slice=head.slice,
        mean=mean,
        low=low,
        high=high,
        std=std,
        std_low=std_low,
        std_high=std_high,
        least=min(values),
        most=max(values),
        members=[*members],
        values=values,
        run_ids=[run.run_id for runs in members.values() for run in runs],
        component=found,
        n=head.n,
        unit=head.unit,
        num_fewshot=run.num_fewshot,
        shot_selection=run.shot_selection,
    )


def _value(run: Run, metric: str, slice: str) -> float:
    score = score_of(run, metric, slice)
    assert score is not None and score.value is not None
    return score.value


def _component(store: Store, members: Members, metric: str, slice: str) -> Component | None:
    runs = [run for held in members.values() for run in held]
    answered = answered_by(store, runs, metric, slice)
    if answered is None or not all(answered.add_up):
        return None
    lines = iter(answered.scores)
    scores = np.stack([np.mean([next(lines) for _ in held], axis=0) for held in members.values()])
    there = ~np.isnan(scores).any(axis=0)
    if int(there.sum()) < 2:
        return None
    return component(Answered(scores[:, there], np.unique(answered.groups[there], return_inverse=True)[1]))


def component(answered: Answered) -> Component:
    """The runs' component of variance; every run has a score for every question.

    S2 = the runs' variance of means = component + interaction; the interaction comes from the residuals of the two-way
    layout, summed by document. The mean's variance: the questions' own, by document, plus component / runs.
    """
    from scipy.special import fdtrc

    scores, groups = answered.scores, answered.groups
    runs, n = scores.shape
    clusters = int(groups.max()) + 1
    by_run, by_question, mean = scores.mean(axis=1), scores.mean(axis=0), float(scores.mean())
    between = float(by_run.var(ddof=1))
    correction = clusters / (clusters - 1) if clusters > 1 else 1.0
    residuals = scores - by_run[:, None] - by_question[None, :] + mean
    interaction = _of_clusters(residuals, groups) * correction / ((runs - 1) * n**2)
    found = max(0.0, between - interaction)
    questions = _of_clusters((by_question - mean)[None, :], groups) * correction / n**2
    ratio = between / interaction if interaction > 1e-15 else (math.inf if between > 1e-15 else 0.0)
    freedom = runs - 1, max(1, (runs - 1) * (clusters - 1))
    p_value = 0.0 if math.isinf(ratio) else float(fdtrc(*freedom, ratio))
    return Component(mean, math.sqrt(questions + found / runs), math.sqrt(found), p_value)


def _of_clusters(residuals: NDArray[np.float64], groups: NDArray[np.int64]) -> float:
    """The sum of squares of each run's totals by document."""
    return float(sum((np.bincount(groups, weights=line) ** 2).sum() for line in residuals))


def deviation_interval(deviation: float, runs: int) -> tuple[float, float]:
    """The 95 % interval of a normal standard deviation (chi-squared); wide, because seeds are few."""
    from scipy.special import chdtri

    freedom = runs - 1
    return deviation * math.sqrt(freedom / chdtri(freedom, 0.025)), deviation * math.sqrt(
        freedom / chdtri(freedom, 0.975)
    )
