"""Stores of made-up runs whose scores a test chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from leaderboards.records import Run, Score
from leaderboards.statistics import interval
from leaderboards.store import Store
from tests.leaderboards.test_store import RUN, SAMPLE

METRIC = "exact_match/strip-lower"


def score(metric: str, values: Sequence[float], documents: Sequence[str], slice: str = "all") -> Score:
    """A mean with its interval, as the runner writes it."""
    name, _, variant = metric.partition("/")
    found = interval(values, documents)
    low, high, stderr, kind = found[1:] if found else (None, None, None, None)
    return Score(name, variant, slice, float(np.mean(values)), low, high, stderr, n=len(values), interval=kind)


def finish(
    store: Store,
    run_id: str,
    scores: Mapping[str, Sequence[float]],
    *,
    documents: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    changes: Mapping[int, Mapping[str, Any]] | None = None,
    whole: Sequence[Score] | None = None,
    **facts: Any,
) -> Run:
    """A finished run of as many questions as there are scores; `changes` are fields of single samples by their number."""
    n = len(next(iter(scores.values())))
    documents = documents or [f"d{number}" for number in range(n)]
    samples = [
        replace(
            replace(
                SAMPLE,
                run_id=run_id,
                sample_id=f"s{number}",
                document=documents[number],
                scores={metric: float(values[number]) for metric, values in scores.items()},
                slices={"kind": kinds[number]} if kinds else {},
                answer=f"{run_id} says {number}",
            ),
            **(changes or {}).get(number, {}),
        )
        for number in range(n)
    ]
    found = [score(metric, list(values), documents) for metric, values in scores.items()]
    for metric, values in scores.items():
        for kind in sorted(set(kinds or ())):
            inside = [number for number in range(n) if (kinds or ())[number] == kind]
            part = [values[number] for number in inside]
            found.append(score(metric, part, [documents[number] for number in inside], f"kind={kind}"))
    run = replace(RUN, **{"run_id": run_id, "n": n, "scores": tuple(found if whole is None else whole), **facts})
    with store.begin(run_id) as folder:
        folder.finish(run, samples)
    return run


def drawn(seed: int, n: int, share: float) -> list[float]:
    """Scores of 0 and 1."""
    return (np.random.default_rng(seed).random(n) < share).astype(float).tolist()
