"""Two ways to answer the same requests, turn by turn: a machine's speed drifts, so only ratios of neighbours count."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flamingo_lab.bench.theirs import Theirs, best_batch
from flamingo_lab.engine import loop
from flamingo_lab.engine.plan import Job
from flamingo_lab.loaded import LoadedModel


@dataclass(frozen=True)
class Turns:
    """Seconds are medians, `ratio` is the median of theirs over ours, pair by pair; `differing`: share of other answers."""

    ours_seconds: float
    theirs_seconds: float
    ratio: float
    theirs_batch: int
    differing: float
    load: float


def against(
    model: LoadedModel,
    theirs: Theirs,
    jobs: Sequence[Job],
    repeats: int,
    progress: Callable[[int], None] = lambda done: None,
) -> Turns:
    """Ours against theirs, at the batch size that is best for them. `progress` hears how many turns are done, from 0 on."""
    requests = [one.request for one in jobs]
    size = best_batch(theirs, jobs)
    for _ in loop.answers(model, requests[:2]):
        pass  # what is slow once, torch's first products among it, is no part of any turn
    progress(0)
    pairs: list[tuple[float, float]] = []
    differing = 0
    for turn in range(repeats):
        began = time.perf_counter()
        mine = {answer.id: answer.token_ids for answer in loop.answers(model, requests)}
        turned = time.perf_counter()
        other = theirs.answer(jobs, size)
        pairs.append((turned - began, time.perf_counter() - turned))
        differing = sum(mine[name] != other[name] for name in mine)
        progress(turn + 1)
    ours_seconds, theirs_seconds = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(their / our for our, their in pairs)
    return Turns(ours_seconds, theirs_seconds, ratio, size, differing / len(jobs), os.getloadavg()[0])
