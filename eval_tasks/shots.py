"""Which worked examples stand before a question: seeded, the same on any machine, and never leaking the answer."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from eval_tasks.errors import TooFewShots
from eval_tasks.task import Sample

SELECTIONS = ("random", "fixed")


def pick(sample: Sample, pool: Sequence[Sample], shots: int, *, selection: str, seed: int, task: str) -> list[Sample]:
    """`shots` examples of the pool for one sample, none from its own picture or document.

    `random` draws anew for each sample, from (seed, task, sample id) alone; `fixed` takes the first usable ones of one
    order for the whole task. Raises `TooFewShots` where the pool has not enough.
    """
    if not shots:
        return []
    key = f"{seed}/{task}/{sample.id}" if selection == "random" else f"{seed}/{task}"
    digests = {image.digest for image in sample.images}
    chosen: list[Sample] = []
    for number in _order(key, len(pool)):
        candidate = pool[number]
        if _leaks(candidate, sample, digests):
            continue
        chosen.append(candidate)
        if len(chosen) == shots:
            return chosen
    raise TooFewShots(
        f"{task}: {shots} shots asked for, but only {len(chosen)} of the {len(pool)} examples share no picture or "
        f"document with {sample.id}; ask for fewer"
    )


def _order(key: str, count: int) -> Iterator[int]:
    """All numbers below `count`, each once, in an order that `key` decides; cheap where only the first few are used."""
    drawing = random.Random(key)
    moved: dict[int, int] = {}
    for place in range(count):
        other = drawing.randrange(place, count)
        yield moved.get(other, other)
        moved[other] = moved.get(place, place)


def _leaks(candidate: Sample, sample: Sample, digests: set[str]) -> bool:
    return (
        candidate.id == sample.id
        or candidate.document == sample.document
        or any(image.digest in digests for image in candidate.images)
    )
