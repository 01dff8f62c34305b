"""Two runs on the same questions: what differs, by how much, how surely, and on which questions."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from leaderboards.differences import Comparison, Difference, Differing
from leaderboards.entrants import entrant
from leaderboards.errors import NotComparable
from leaderboards.pairing import Pairing
from leaderboards.records import ALL, Run
from leaderboards.side_by_side import side_by_side
from leaderboards.significance import holm
from leaderboards.store import Store


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
    pairing = Pairing(first, second, held)
    if not held.is_shared.any():
        raise NotComparable(f"runs {first.run_id} and {second.run_id} have no question in common")
    names = _chosen(metrics, pairing.metrics, "metric", "/")
    labels = _chosen(slices, [ALL, *held.slices], "slice", "=")
    found = [one for name in names for label in labels for one in pairing.differences(name, label)]
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
    return together([compare(store, base, other, metrics=metrics, slices=slices) for other in others])


def together(found: Sequence[Comparison]) -> list[Comparison]:
    """Several comparisons with Holm's correction over all of them."""
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
        "options": tuple(entrant(run).options or "none" for run in (a, b)),
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
