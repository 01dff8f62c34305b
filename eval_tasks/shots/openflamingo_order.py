"""`openflamingo-order`: the examples that OpenFlamingo's own evaluation draws, for figures that are compared with its authors'.

`open_flamingo/eval/evaluate.py` draws from 2,048 training questions, one question after the other, so that its examples hang on
the order of the questions, which is drawn too. This is that order for one process and all questions of the split; the authors'
seed is 42. Examples that would give the answer away are replaced here, and never there.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np

from eval_tasks.shots import Order, Pool, Selection, Usable, drawn, of_question
from eval_tasks.task import Sample

QUERY_SET = 2048
"""The training questions that examples are drawn from (`--query_set_size`)."""


def order(pool: Pool) -> Order:
    """The authors' draws, in the order of their random calls."""
    numpy_draws = np.random.RandomState(pool.seed)
    count = len(pool.whole)
    permuted = numpy_draws.choice(count, count, replace=False).tolist()
    query = numpy_draws.choice(len(pool.samples), min(QUERY_SET, len(pool.samples)), replace=False).tolist()
    draws = random.Random(pool.seed)
    taken = min(pool.shots, len(query))
    chosen = {pool.whole[permuted[place]].id: draws.sample(query, taken) for place in shuffled(count)}

    def numbers(sample: Sample, usable: Usable) -> Iterator[int]:
        yield from chosen[sample.id]
        rest = (query[place] for place in drawn(of_question(pool, sample), len(query)))
        yield from (number for number in rest if number not in chosen[sample.id])

    return numbers


def shuffled(count: int) -> list[int]:
    """`torch.randperm(count)` under the seed 0, by which `DistributedSampler` orders the questions of its first epoch."""
    places = list(range(count))
    draws = np.random.RandomState(0).randint(0, 2**32, max(count - 1, 0), np.uint32)
    for place, number in enumerate(draws.tolist()):
        other = place + number % (count - place)
        places[place], places[other] = places[other], places[place]
    return places


SELECTION = Selection("OpenFlamingo's own draws, for one process and a whole split (its seed is 42)", order)
