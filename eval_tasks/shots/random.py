"""`random`: examples drawn anew for each question, from (seed, task, sample id) alone."""

from __future__ import annotations

from collections.abc import Iterator

from eval_tasks.shots import Order, Pool, Selection, Usable, drawn, of_question
from eval_tasks.task import Sample


def order(pool: Pool) -> Order:
    """An order a question."""

    def numbers(sample: Sample, usable: Usable) -> Iterator[int]:
        return drawn(of_question(pool, sample), len(pool.samples))

    return numbers


SELECTION = Selection("drawn anew for each question", order)
