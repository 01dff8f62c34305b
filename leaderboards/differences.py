"""What a comparison of two runs says, as records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from leaderboards.records import ALL, SHARE, Run


@dataclass(frozen=True)
class Difference:
    """Run B minus run A under one metric (METRIC/VARIANT) on one slice, over the questions that both answered.

    `low`, `high`: the 95 % interval, `interval` its kind. `p_adjusted`: Holm over the slices of a metric, and over the pairs
    where several runs are compared. `wins`: questions on which B scored more. `detectable`: the smallest true difference that
    so many questions show with 80 % power. Without a `test`, `reason` says why there is none, and `a` and `b` are the runs'
    scores.
    `carried`: the metric under which the samples hold what was compared.
    """

    run_a: str
    run_b: str
    metric: str
    slice: str
    a: float | None
    b: float | None
    difference: float | None
    low: float | None = None
    high: float | None = None
    stderr: float | None = None
    interval: str | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    test: str = ""
    reason: str = ""
    wins: int = 0
    losses: int = 0
    ties: int = 0
    n: int = 0
    clusters: int = 0
    detectable: float | None = None
    unit: str = SHARE
    carried: str = ""

    @property
    def is_sure(self) -> bool:
        """Whether the difference is more than chance at 5 %, after the correction."""
        return self.p_adjusted is not None and self.p_adjusted < 0.05


@dataclass(frozen=True)
class Comparison:
    """Two runs of a task with their differences, whole first.

    `n_shared` questions stand in both runs; `n_unanswered` of them lack an answer in one, and take no part. `n_changed`
    have other targets in B than in A. `notes` say what else is not alike.
    """

    a: Run
    b: Run
    differences: Sequence[Difference]
    n_shared: int
    n_only_a: int
    n_only_b: int
    n_unanswered: int
    n_changed: int
    notes: Sequence[str]

    def of(self, metric: str, slice: str = ALL) -> Difference:
        """The difference under a metric on a slice."""
        return next(one for one in self.differences if (one.metric, one.slice) == (metric, slice))


@dataclass(frozen=True)
class Differing:
    """A question on which two runs' scores differ. `sure`: the less sure of the two models' probability of its answer."""

    sample_id: str
    document: str
    question: str
    targets: Sequence[str]
    choices: Sequence[str]
    image_digests: Sequence[str]
    image_paths: Sequence[str]
    slices: Mapping[str, str]
    answer_a: str
    answer_b: str
    score_a: float
    score_b: float
    difference: float
    sure: float | None
    has_same_prompt: bool
