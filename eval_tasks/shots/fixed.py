"""`fixed`: the same examples before every question, as far as they may stand there."""

from __future__ import annotations

from collections.abc import Iterator

from eval_tasks.shots import Order, Pool, Selection, Usable, drawn
from eval_tasks.task import Sample


def order(pool: Pool) -> Order:
    """One order for the whole task, which the seed decides."""

    def numbers(sample: Sample, usable: Usable) -> Iterator[int]:
        return drawn(f"{pool.seed}/{pool.task}", len(pool.samples))

    return numbers


SELECTION = Selection("the same examples before every question", order)
