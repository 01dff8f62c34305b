"""Worked examples: seeded, complete, and never from the question's own picture or document."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import flamingo_lab as fl
from eval_tasks.errors import TooFewShots
from eval_tasks.shots import pick
from eval_tasks.task import Sample


def picture(colour: int) -> fl.Image:
    stream = io.BytesIO()
    Image.new("RGB", (4, 4), (colour, 0, 0)).save(stream, "PNG")
    return fl.Image(stream.getvalue(), name=f"{colour}.png")


PICTURES = [picture(colour) for colour in range(6)]


def sample(number: int, shows: int, document: int) -> Sample:
    return Sample(f"s{number}", (PICTURES[shows],), "what?", ("this",), f"d{document}")


POOLS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=25).map(
    lambda rows: [sample(number, *row) for number, row in enumerate(rows)]
)


@given(POOLS, st.integers(0, 4), st.integers(0, 9), st.sampled_from(["random", "fixed"]))
def test_shots_never_leak_and_are_the_same_again(pool: list[Sample], shots: int, seed: int, selection: str) -> None:
    asked = pool[0]
    usable = [
        other
        for other in pool
        if other.id != asked.id
        and other.document != asked.document
        and other.images[0].digest != asked.images[0].digest
    ]
    if len(usable) < shots:
        with pytest.raises(TooFewShots, match=f"{shots} shots asked for, but only {len(usable)} of the {len(pool)}"):
            pick(asked, pool, shots, selection=selection, seed=seed, task="t")
        return
    chosen = pick(asked, pool, shots, selection=selection, seed=seed, task="t")
    assert len({shot.id for shot in chosen}) == len(chosen) == shots
    assert {shot.id for shot in chosen} <= {shot.id for shot in usable}
    assert chosen == pick(asked, pool, shots, selection=selection, seed=seed, task="t")


def test_fixed_shots_are_shared_and_random_ones_are_not() -> None:
    pool = [sample(number, number % 5, number) for number in range(60)]
    questions = [sample(1000 + number, 5, 1000 + number) for number in range(8)]

    def chosen(selection: str, seed: int = 0) -> set[tuple[str, ...]]:
        return {
            tuple(shot.id for shot in pick(asked, pool, 4, selection=selection, seed=seed, task="t"))
            for asked in questions
        }

    assert len(chosen("fixed")) == 1
    assert len(chosen("random")) == len(questions)
    assert chosen("fixed") != chosen("fixed", seed=1)
    assert not chosen("random") & chosen("random", seed=1)


def test_more_shots_begin_with_the_fewer_ones() -> None:
    pool = [sample(number, number % 5, number) for number in range(30)]
    asked = sample(99, 5, 99)
    four, eight = (pick(asked, pool, shots, selection="random", seed=3, task="t") for shots in (4, 8))
    assert eight[:4] == four
