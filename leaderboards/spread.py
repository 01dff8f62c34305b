"""How much a score depends on the seed, or on the wording: a variance component apart from the questions' chance.

Runs that differ in nothing else answer the same questions, so the spread between them holds two parts: how much the seed
moves every question alike, and what single questions do by chance. A two-way layout of questions and runs tells them apart
(Searle, Casella and McCulloch 1992, section 4.7), questions of one document taken together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leaderboards.answered import Answered, answered_by
from leaderboards.entrants import Column, Entrant, entrant
from leaderboards.pairs import is_mean, score_of
from leaderboards.records import SHARE, Run
from leaderboards.statistics import Z
from leaderboards.store import Store

SEED, WORDING = "seed", "wording"


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
    """Runs that differ only in `over`, with their scores by run.

    `deviation`: the standard deviation between them, with its 95 % interval (chi-squared, m - 1 degrees of freedom). There
    is a `component` only for scores that are means over shared questions.
    """

    over: str
    entrant: Entrant
    column: Column
    values: Mapping[str, float]
    mean: float
    low: float | None
    high: float | None
    deviation: float
    deviation_low: float
    deviation_high: float
    component: Component | None
    unit: str = SHARE


def spreads(store: Store, runs: Sequence[Run]) -> list[Spread]:
    """Every group of two or more finished runs that differ only in their seed, and only in their wording."""
    whole = [run for run in runs if run.status == "complete" and run.scores and run.scores[0].value is not None]
    return [
        spread(store, group, over)
        for over, alike in ALIKE.items()
        for group in _groups(whole, alike)
        if len({_varied(run, over) for run in group}) > 1
    ]


def spread(store: Store, runs: Sequence[Run], over: str) -> Spread:
    """The spread of a group of runs under their official metric."""
    first = runs[0]
    column = _column(first)
    scores = {run.run_id: score_of(run, column.name) for run in runs}
    values = {run_id: score.value for run_id, score in scores.items() if score is not None and score.value is not None}
    found = _component(store, runs, column)
    observed = np.array([*values.values()])
    deviation = float(observed.std(ddof=1))
    low, high = deviation_interval(deviation, len(observed))
    mean = float(observed.mean())
    half = None if found is None else Z * found.stderr
    return Spread(
        over=over,
        entrant=ALIKE[over](first)[0],
        column=column,
        values=values,
        mean=mean,
        low=None if half is None else mean - half,
        high=None if half is None else mean + half,
        deviation=deviation,
        deviation_low=low,
        deviation_high=high,
        component=found,
        unit=first.scores[0].unit,
    )


def _component(store: Store, runs: Sequence[Run], column: Column) -> Component | None:
    answered = answered_by(store, runs, column.name, column.slice)
    if answered is None:
        return None
    are_means = (is_mean(score_of(run, column.name), answered.scores[number]) for number, run in enumerate(runs))
    if not all(are_means):
        return None
    there = ~np.isnan(answered.scores).any(axis=0)
    if int(there.sum()) < 2:
        return None
    return component(Answered(answered.scores[:, there], np.unique(answered.groups[there], return_inverse=True)[1]))


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


def _column(run: Run) -> Column:
    head = run.scores[0]
    return Column(run.task, run.split, head.metric, head.variant, head.slice)


def _but_seed(run: Run) -> tuple[Entrant, Any]:
    return replace(entrant(run), seed=0), (_column(run), run.phrasing, run.decoding)


def _but_wording(run: Run) -> tuple[Entrant, Any]:
    return replace(entrant(run), wording=""), (_column(run), run.decoding)


def _varied(run: Run, over: str) -> object:
    return run.seed if over == SEED else run.phrasing


ALIKE: Mapping[str, Callable[[Run], tuple[Entrant, Any]]] = {SEED: _but_seed, WORDING: _but_wording}
"""What has to be equal in runs that are to differ only in the one thing."""


def _groups(runs: Sequence[Run], alike: Callable[[Run], object]) -> list[list[Run]]:
    found: dict[object, list[Run]] = {}
    for run in runs:
        found.setdefault(alike(run), []).append(run)
    return [group for group in found.values() if len(group) > 1]
