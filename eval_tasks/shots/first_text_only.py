"""`first-text-only`: IDEFICS' zero shots, the first two examples of the split without their pictures, before every question.

`first_without_image` in `m4/evaluation/config.py`. The authors' 2,048 support examples were drawn without a seed and are not
the split's first ones, so these are not theirs: the form is.
"""

from __future__ import annotations

from collections.abc import Iterator

from eval_tasks.shots import Order, Pool, Selection, Usable
from eval_tasks.shots.text_only import SHOTS
from eval_tasks.task import Sample


def order(pool: Pool) -> Order:
    """The split's own order."""

    def numbers(sample: Sample, usable: Usable) -> Iterator[int]:
        return iter(range(len(pool.samples)))

    return numbers


SELECTION = Selection(
    "the split's first two without their pictures: IDEFICS' zero shots", order, SHOTS, shows_pictures=False
)
