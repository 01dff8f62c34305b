"""Two ways to answer the same requests, turn by turn: a machine's speed drifts, so only ratios of neighbours count."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flamingo_lab.bench.flips import parted
from flamingo_lab.bench.theirs import Theirs, best_batch
from flamingo_lab.engine import loop
from flamingo_lab.engine.plan import Job
from flamingo_lab.loaded import LoadedModel


@dataclass(frozen=True)
class Turns:
    """Seconds are medians, `ratio` is the median of theirs over ours, pair by pair.

    differing: the share of answers that differ; margin: how far apart the two choices were where an answer parts, at the most
    of these answers, see `Flip`.
    """

    ours_seconds: float
    theirs_seconds: float
    ratio: float
    theirs_batch: int
    differing: float
    margin: float
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
    mine: dict[str, tuple[int, ...]] = {}
    other: dict[str, tuple[int, ...]] = {}
    for turn in range(repeats):
        began = time.perf_counter()
        mine = {answer.id: answer.token_ids for answer in loop.answers(model, requests)}
        turned = time.perf_counter()
        other = theirs.answer(jobs, size)
        pairs.append((turned - began, time.perf_counter() - turned))
        progress(turn + 1)
    ours_seconds, theirs_seconds = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(their / our for our, their in pairs)
    load = os.getloadavg()[0]
    differing = [request for request in requests if mine[request.id] != other[request.id]]
    margins = (parted(model, request, mine[request.id], other[request.id])[1] for request in differing)
    return Turns(ours_seconds, theirs_seconds, ratio, size, len(differing) / len(jobs), max(margins, default=0.0), load)
