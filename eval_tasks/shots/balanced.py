"""`balanced`: as many examples of each right answer, drawn anew for each question; for tasks with few of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

from eval_tasks.errors import TooFewShots
from eval_tasks.shots import Order, Pool, Selection, Usable, drawn, of_question
from eval_tasks.task import Sample


def order(pool: Pool) -> Order:
    """Rounds through the right answers, in an order drawn for each; an answer without usable examples ends them.

    Raises `TooFewShots` where the number of shots is no multiple of the number of answers.
    """
    of_answer: dict[str, list[int]] = {}
    for number, sample in enumerate(pool.samples):
        of_answer.setdefault(_right(sample, pool.task), []).append(number)
    answers = sorted(of_answer)
    if pool.shots % len(answers):
        raise TooFewShots(
            f"{pool.task}: {pool.shots} shots cannot be balanced between {len(answers)} right answers; ask for a multiple "
            f"of {len(answers)}, or choose another --shot-selection"
        )

    def numbers(sample: Sample, usable: Usable) -> Iterator[int]:
        key = of_question(pool, sample)
        lines = {answer: _usable(of_answer[answer], f"{key}/{answer}", usable) for answer in answers}
        rounds = random.Random(key)
        while True:
            for answer in rounds.sample(answers, len(answers)):
                found = next(lines[answer], None)
                if found is None:
                    return
                yield found

    return numbers


def _usable(numbers: list[int], key: str, usable: Usable) -> Iterator[int]:
    return (numbers[place] for place in drawn(key, len(numbers)) if usable(numbers[place]))


def _right(sample: Sample, task: str) -> str:
    if not sample.targets:
        raise TooFewShots(f"{task}: its right answers are no texts, so shots cannot be balanced between them")
    return Counter(sample.targets).most_common(1)[0][0]


SELECTION = Selection("as many of each right answer, for tasks with few of them", order, fits_own=False)
