"""Two runs' figures against each other: one metric on one slice at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from leaderboards import terms
from leaderboards.differences import Difference
from leaderboards.records import ALL, SHARE, Run, on_slice, parts_of, score_of
from leaderboards.side_by_side import SideBySide
from leaderboards.significance import paired
from leaderboards.terms import Ratios

NO_TEST = "no paired test for this metric"
NOT_RECORDED = f"{NO_TEST}: the samples do not hold what it is worked out from (flab results rescore may add that)"
NO_SUM = f"{NO_TEST}: it is no sum of what single questions add (nor are BLEU and METEOR)"
UNDEFINED = f"{NO_TEST}: it is not defined on these questions"
NOT_SHARED = "no question has both scores"

Questions = NDArray[np.bool_]


class Pairing(NamedTuple):
    """Runs A and B with their questions side by side."""

    a: Run
    b: Run
    held: SideBySide

    @property
    def metrics(self) -> list[str]:
        """What can be compared, as METRIC/VARIANT: scores of questions, then figures that are worked out from them."""
        held = self.held
        scores = [name for name in held.scores_a if name in held.scores_b]
        figures = [name for name in held.terms_a if name in held.terms_b and " on " not in name]
        return [*scores, *(name for name in figures if name not in scores)]

    def differences(self, metric: str, label: str) -> Iterator[Difference]:
        """The difference under a metric on a slice; where it cannot be tested, also that of the mean that stands beside it."""
        inside = self.held.slices[label] if label != ALL else np.ones(len(self.held.is_shared), bool)
        if self._has_terms(metric, label):
            yield self._of_terms(metric, label, inside)
            return
        has_scores = metric in self.held.scores_a and metric in self.held.scores_b
        parts = [self._parts(run, metric, label, inside) for run in (self.a, self.b)] if has_scores else [[], []]
        if parts[0] and parts[1]:
            yield self._of_means(metric, label, parts[0], self._unit(metric, label))
            return
        yield self._untested(metric, label, self._lacking(metric, label))
        beside = self._mean_beside(metric, label, inside) if has_scores else None
        if beside is not None:
            yield self._of_means(beside, label, [inside], SHARE, metric)

    def _values(self, run: Run, metric: str) -> NDArray[np.float64]:
        return (self.held.scores_a if run is self.a else self.held.scores_b)[metric]

    def _unit(self, metric: str, label: str) -> str:
        known = (score_of(run, metric, label) for run in (self.a, self.b))
        return next((score.unit for score in known if score is not None), SHARE)

    def _parts(self, run: Run, metric: str, label: str, inside: Questions) -> list[Questions]:
        """The questions whose mean the score is, or the parts whose means' mean it is; empty where it is neither.

        A run without such a score was never said to be anything else than the mean.
        """
        score, values = score_of(run, metric, label), self._values(run, metric)
        if score is None or _is(score.value, values[inside]):
            return [inside]
        parts = [self.held.slices[one] for one in run.mean_of if one in self.held.slices]
        is_whole = label == ALL and len(parts) == len(run.mean_of) > 0
        return parts if is_whole and _is(score.value, *(values[part] for part in parts)) else []

    def _mean_beside(self, metric: str, label: str, inside: Questions) -> str | None:
        """The metric's further figure that is the mean over questions: POPE's accuracy beside its F1, say."""
        name, _, variant = metric.partition("/")
        values = self._values(self.a, metric)[inside]
        beside = (
            f"{one.metric}/{variant}"
            for one in self.a.scores
            if one.metric.startswith(f"{name}.") and (one.variant, one.slice) == (variant, label)
            if _is(one.value, values)
        )
        return next(beside, None)

    def _of_means(
        self, metric: str, label: str, parts: Sequence[Questions], unit: str, carried: str | None = None
    ) -> Difference:
        """The difference of the means over the shared questions; `carried`: the metric that the samples' scores stand under.

        Of several parts the mean of their means: a question counts the more, the fewer its part has.
        """
        carried = carried or metric
        all_a, all_b = self._values(self.a, carried), self._values(self.b, carried)
        there = self._both & ~np.isnan(all_a) & ~np.isnan(all_b)
        counts = [int((part & there).sum()) for part in parts]
        if not all(counts):
            return self._untested(metric, label, NOT_SHARED)
        used = there & np.any(parts, axis=0)
        counted = np.zeros(len(there))
        for part, count in zip(parts, counts, strict=True):
            counted[part & there] += int(used.sum()) / (count * len(parts))
        share, left, right = counted[used], all_a[used], all_b[used]
        is_binary = len(parts) == 1 and bool(np.isin(left, (0, 1)).all() and np.isin(right, (0, 1)).all())
        found = paired((right - left) * share, self._groups(used), is_binary=is_binary)
        return Difference(
            run_a=self.a.run_id,
            run_b=self.b.run_id,
            metric=metric,
            slice=label,
            a=float((left * share).mean()),
            b=float((right * share).mean()),
            unit=unit,
            carried=carried,
            **found._asdict(),
        )

    def _of_terms(self, metric: str, label: str, inside: Questions) -> Difference:
        """The difference of two figures that are no means, both worked out anew over the shared questions."""
        known = [score_of(run, metric, label) for run in (self.a, self.b)]
        if any(score is None or score.value is None for score in known):
            return self._untested(metric, label, UNDEFINED)
        used = inside & self._both
        labels = parts_of(self.a, metric) if label == ALL else ()
        masks = {one: self.held.slices[one] for one in labels if one in self.held.slices} or {label: used}
        used &= np.any([*masks.values()], axis=0)
        if not used.any():
            return self._untested(metric, label, NOT_SHARED)
        pairs = [self._ratios(metric, one, mask & used) for one, mask in masks.items()]
        a, b = (terms.mean_of([pair[side] for pair in pairs]).of(used) for side in (0, 1))
        if not np.isfinite((a.value, b.value)).all():
            return self._untested(metric, label, UNDEFINED)
        groups = self._groups(used)
        found = paired(terms.moved(a, b), groups, is_binary=False, resampled=lambda: terms.resampled(a, b, groups))
        return Difference(
            run_a=self.a.run_id,
            run_b=self.b.run_id,
            metric=metric,
            slice=label,
            a=a.value,
            b=b.value,
            unit=self._unit(metric, label),
            carried=self._carried(metric),
            **found._asdict(),
        )

    def _lacking(self, metric: str, label: str) -> str:
        """Why there are no terms: what has an interval is made of single questions' parts, which another marking keeps."""
        known = (score_of(run, metric, label) for run in (self.a, self.b))
        are_sums = all(score is None or score.stderr is not None for score in known)
        return NOT_RECORDED if are_sums else NO_SUM

    def _has_terms(self, metric: str, label: str) -> bool:
        of_slice = on_slice(metric, label)
        return any(key in self.held.terms_a and key in self.held.terms_b for key in (of_slice, metric))

    def _ratios(self, metric: str, label: str, questions: Questions) -> list[Ratios]:
        """Both runs' ratios on a slice, by its own terms where it has some."""
        of_slice = on_slice(metric, label)
        key = of_slice if of_slice in self.held.terms_a and of_slice in self.held.terms_b else metric
        return terms.ratios(len(questions), [self.held.terms_a[key], self.held.terms_b[key]], questions)

    def _carried(self, metric: str) -> str:
        """The metric under which the samples hold the questions' own scores."""
        name, _, variant = metric.partition("/")
        return metric if metric in self.held.scores_a else f"{name.partition('.')[0]}/{variant}"

    def _untested(self, metric: str, label: str, reason: str) -> Difference:
        """The stored scores without a test."""
        left, right = (
            None if (score := score_of(run, metric, label)) is None else score.value for run in (self.a, self.b)
        )
        inside = self.held.slices[label] if label != ALL else True
        return Difference(
            run_a=self.a.run_id,
            run_b=self.b.run_id,
            metric=metric,
            slice=label,
            a=left,
            b=right,
            difference=None if left is None or right is None else right - left,
            reason=reason,
            n=int((inside & self._both).sum()),
            unit=self._unit(metric, label),
            carried=self._carried(metric),
        )

    @property
    def _both(self) -> Questions:
        """The questions that both answered."""
        return self.held.is_shared & self.held.is_answered

    def _groups(self, used: Questions) -> NDArray[np.int64]:
        return np.unique(self.held.clusters[used], return_inverse=True)[1]


def _is(value: float | None, *parts: NDArray[np.float64]) -> bool:
    """Whether a score is the mean of its questions' scores, or of the means of several parts."""
    means = [float(np.nanmean(part)) for part in parts if not np.isnan(part).all()]
    return value is not None and len(means) == len(parts) and bool(np.isclose(np.mean(means), value, 1e-9, 1e-9))
