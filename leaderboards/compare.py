"""Two runs on the same questions: what differs, by how much, how surely, and on which questions."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from leaderboards.differences import Comparison, Difference, Differing
from leaderboards.errors import NotComparable
from leaderboards.records import ALL, SHARE, Run, Score
from leaderboards.side_by_side import SideBySide, side_by_side
from leaderboards.significance import holm, paired
from leaderboards.store import Store

NO_TEST = "no paired test for this metric"


def compare(
    store: Store, a: str, b: str, *, metrics: Sequence[str] | None = None, slices: Sequence[str] | None = None
) -> Comparison:
    """Run `b` against run `a` (prefixes of their ids), under all metrics that both carry, on the whole and every slice.

    `metrics` (METRIC/VARIANT, or a metric's name for all its variants) and `slices` (`all`, KEY=VALUE, or a key) say
    which. Raises `NotComparable` for runs of two tasks or splits, and for runs without a question in common.
    """
    first, second = store.run(a), store.run(b)
    _check(first, second)
    held = side_by_side(store, first, second)
    if not held.is_shared.any():
        raise NotComparable(f"runs {first.run_id} and {second.run_id} have no question in common")
    names = _chosen(metrics, [name for name in held.scores_a if name in held.scores_b], "metric", "/")
    labels = _chosen(slices, [ALL, *held.slices], "slice", "=")
    found = [one for name in names for label in labels for one in _differences(first, second, held, name, label)]
    return Comparison(
        a=first,
        b=second,
        differences=_adjusted(found),
        n_shared=int(held.is_shared.sum()),
        n_only_a=int((held.in_a & ~held.in_b).sum()),
        n_only_b=int((held.in_b & ~held.in_a).sum()),
        n_unanswered=int((held.is_shared & ~held.is_answered).sum()),
        n_changed=int((held.is_shared & held.is_changed).sum()),
        notes=_notes(first, second),
    )


def against(
    store: Store,
    base: str,
    others: Sequence[str],
    *,
    metrics: Sequence[str] | None = None,
    slices: Sequence[str] | None = None,
) -> list[Comparison]:
    """Every other run against one, with Holm's correction over all of them."""
    found = [compare(store, base, other, metrics=metrics, slices=slices) for other in others]
    adjusted = iter(_adjusted([one for comparison in found for one in comparison.differences]))
    return [replace(comparison, differences=[next(adjusted) for _ in comparison.differences]) for comparison in found]


def differing(
    store: Store, a: str, b: str, metric: str, *, slice: str = ALL, limit: int = 50, offset: int = 0
) -> list[Differing]:
    """The questions on which two runs' scores differ, the largest difference first, then the surest."""
    first, second = store.run(a), store.run(b)
    _check(first, second)
    found = store.ask(
        "differing",
        [store.file_of(first.run_id), store.file_of(second.run_id)],
        a=first.run_id,
        b=second.run_id,
        metric=metric,
        slice=slice,
        limit=limit,
        offset=offset,
    )
    return [Differing(**dict(zip(found.columns, row, strict=True))) for row in found.fetchall()]


def _check(a: Run, b: Run) -> None:
    if (a.task, a.split) != (b.task, b.split):
        raise NotComparable(
            f"run {a.run_id} answers {a.task} ({a.split}), run {b.run_id} {b.task} ({b.split}); only runs on the same "
            "questions can be compared"
        )
    if a.run_id == b.run_id:
        raise NotComparable(f"run {a.run_id} is compared with itself; name two runs (flab list runs)")


def _notes(a: Run, b: Run) -> list[str]:
    """What of the two runs' protocols is not alike, beside the model."""
    compared = {
        "shots": (a.num_fewshot, b.num_fewshot),
        "choice of shots": (a.shot_selection, b.shot_selection),
        "wording": (a.phrasing, b.phrasing),
        "decoding": (a.decoding, b.decoding),
        "seed": (a.seed, b.seed),
        "dtype": (a.dtype, b.dtype),
        "quantisation": (a.quantisation or "none", b.quantisation or "none"),
        "limit": (a.limit or "none", b.limit or "none"),
    }
    return [f"{name}: {one} against {other}" for name, (one, other) in compared.items() if one != other]


def _chosen(wanted: Sequence[str] | None, there: Sequence[str], what: str, mark: str) -> list[str]:
    """The names among those there that are wanted whole or by what stands before the mark, in their order."""
    if wanted is None:
        return list(there)
    for name in wanted:
        if not any(one == name or one.startswith(name + mark) for one in there):
            near = difflib.get_close_matches(name, there, n=3) or there
            raise NotComparable(f"no {what} {name!r} in both runs; there are {', '.join(near)}")
    return [one for one in there if any(one == name or one.startswith(name + mark) for name in wanted)]


def _differences(a: Run, b: Run, held: SideBySide, metric: str, label: str) -> Iterator[Difference]:
    """The difference of the scores, and where they are no mean over questions, of the mean that there is beside them."""
    known = [_score(run, metric, label) for run in (a, b)]
    values = held.scores_a[metric], held.scores_b[metric]
    inside = held.slices[label] if label != ALL else np.ones(len(held.is_shared), bool)
    parts = [_parts(run, score, value, held, inside) for run, score, value in zip((a, b), known, values, strict=True)]
    if parts[0] and parts[1]:
        yield _tested(a, b, held, metric, label, parts[0], _unit(known))
        return
    left, right = (None if score is None else score.value for score in known)
    yield Difference(
        run_a=a.run_id,
        run_b=b.run_id,
        metric=metric,
        slice=label,
        a=left,
        b=right,
        difference=None if left is None or right is None else right - left,
        reason=f"{NO_TEST}: it is worked out over the whole set, and is no mean over questions",
        n=int((inside & held.is_shared & held.is_answered).sum()),
        unit=_unit(known),
        carried=metric,
    )
    beside = _mean_beside(a, metric, label, values[0][inside])
    if beside is not None:
        yield _tested(a, b, held, beside, label, [inside], SHARE, metric)


def _score(run: Run, metric: str, label: str) -> Score | None:
    return next((one for one in run.scores if f"{one.metric}/{one.variant}" == metric and one.slice == label), None)


def _unit(scores: Sequence[Score | None]) -> str:
    return next((score.unit for score in scores if score is not None), SHARE)


def _is(value: float | None, *parts: NDArray[np.float64]) -> bool:
    """Whether a score is the mean of its questions' scores, or of the means of several parts."""
    means = [float(np.nanmean(part)) for part in parts if not np.isnan(part).all()]
    return value is not None and len(means) == len(parts) and bool(np.isclose(np.mean(means), value, 1e-9, 1e-9))


def _parts(
    run: Run, score: Score | None, values: NDArray[np.float64], held: SideBySide, inside: NDArray[np.bool_]
) -> list[NDArray[np.bool_]]:
    """The questions whose mean the score is, or the parts whose means' mean it is; empty where it is neither.

    A run without such a score was never said to be anything else than the mean.
    """
    if score is None or _is(score.value, values[inside]):
        return [inside]
    parts = [held.slices[label] for label in run.mean_of if label in held.slices]
    is_whole = score.slice == ALL and len(parts) == len(run.mean_of) > 0
    return parts if is_whole and _is(score.value, *(values[part] for part in parts)) else []


def _mean_beside(run: Run, metric: str, label: str, values: NDArray[np.float64]) -> str | None:
    """The metric's further figure that is the mean over questions: POPE's accuracy beside its F1, say."""
    name, _, variant = metric.partition("/")
    beside = (
        one
        for one in run.scores
        if one.metric.startswith(f"{name}.") and (one.variant, one.slice) == (variant, label) and _is(one.value, values)
    )
    found = next(beside, None)
    return None if found is None else f"{found.metric}/{variant}"


def _tested(
    a: Run,
    b: Run,
    held: SideBySide,
    metric: str,
    label: str,
    parts: Sequence[NDArray[np.bool_]],
    unit: str,
    carried: str | None = None,
) -> Difference:
    """The difference of the means over the shared questions; `carried`: the metric under which the samples hold the scores.

    Of several parts the mean of their means: a question counts the more, the fewer its part has.
    """
    carried = carried or metric
    all_a, all_b = held.scores_a[carried], held.scores_b[carried]
    there = held.is_shared & held.is_answered & ~np.isnan(all_a) & ~np.isnan(all_b)
    counts = [int((part & there).sum()) for part in parts]
    if not all(counts):
        reason = "no question has both scores"
        return Difference(
            a.run_id, b.run_id, metric, label, None, None, None, reason=reason, unit=unit, carried=carried
        )
    used = there & np.any(parts, axis=0)
    n = int(used.sum())
    counted = np.zeros(len(there))
    for part, count in zip(parts, counts, strict=True):
        counted[part & there] += n / (count * len(parts))
    share = counted[used]
    left, right = all_a[used], all_b[used]
    is_binary = len(parts) == 1 and bool(np.isin(left, (0, 1)).all() and np.isin(right, (0, 1)).all())
    groups = np.unique(held.clusters[used], return_inverse=True)[1]
    found = paired((right - left) * share, groups, is_binary=is_binary)
    return Difference(
        run_a=a.run_id,
        run_b=b.run_id,
        metric=metric,
        slice=label,
        a=float((left * share).mean()),
        b=float((right * share).mean()),
        unit=unit,
        carried=carried,
        **found._asdict(),
    )


def _adjusted(found: Sequence[Difference]) -> list[Difference]:
    """With Holm's correction in every metric, apart over the wholes and over the slices."""
    families: dict[tuple[str, bool], list[int]] = {}
    for number, one in enumerate(found):
        if one.p_value is not None:
            families.setdefault((one.metric, one.slice == ALL), []).append(number)
    result = list(found)
    for numbers in families.values():
        adjusted = holm([found[number].p_value or 0.0 for number in numbers])
        for number, value in zip(numbers, adjusted, strict=True):
            result[number] = replace(found[number], p_adjusted=value)
    return result
