"""Guided search by itself: many at once are as each alone, and what it does where there is nothing to see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flamingo_lab.errors import BadImage
from flamingo_lab.search import together
from flamingo_lab.search.guided import Ask, Outcome, Patch, Search, Seen, Settings, search, split
from flamingo_lab.search.phrases import Token, cue, noun_chunks

PICTURES = [Image.new("RGB", (90 + 7 * number, 60 + 5 * number)) for number in range(11)]


def seen(ask: Ask) -> Seen:
    """A box in the patch's middle and a heat map, both from the patch's place alone."""
    x, y, width, height = ask.patch
    score = ((x * 7 + y * 3 + ask.picture.width) % 50) / 100
    heat = np.add.outer(np.arange(height), np.arange(width)).astype(np.float32) * ((x + y) % 3)
    return Seen("in a box", np.array([[0.5, 0.5, 0.2, 0.2]], np.float32), np.array([score], np.float32), heat)


class Looks:
    """A search model that notes how many questions came together."""

    def __init__(self) -> None:
        self.together: list[int] = []

    def look(self, asks: Sequence[Ask]) -> list[Seen | Exception]:
        self.together.append(len(asks))
        return [BadImage("dark") if ask.picture.width == 97 and ask.patch.x else seen(ask) for ask in asks]


def searches() -> Iterator[Callable[[], Search]]:
    for picture in PICTURES:
        yield partial(search, picture, "cup", Settings(), 20, lambda text: [])


def lost() -> Search:
    raise BadImage("lost.png: no such picture")


def visited(outcome: Outcome | Exception) -> object:
    if isinstance(outcome, Exception):
        return str(outcome)
    return [(visit.patch, visit.score, visit.best, visit.cue) for visit in outcome.path], outcome.final, outcome.places


def test_many_searches_are_as_each_alone() -> None:
    looks = Looks()
    ended = together.run(looks, searches())
    assert sorted(ended) == list(range(len(PICTURES)))
    assert max(looks.together) == together.TOGETHER
    for number, begin in enumerate(searches()):
        (alone,) = together.run(Looks(), [begin]).values()
        assert visited(ended[number].outcome) == visited(alone.outcome)
    assert visited(ended[1].outcome) == "dark"


def test_a_search_that_cannot_begin_fails_alone() -> None:
    ended = together.run(Looks(), [lost, *searches(), lost])
    assert len(ended) == len(PICTURES) + 2
    assert [
        number for number, end in ended.items() if isinstance(end.outcome, BadImage) and "lost" in str(end.outcome)
    ] == [
        0,
        len(PICTURES) + 1,
    ]


def test_nothing_seen_anywhere_is_no_place() -> None:
    class Blind:
        def look(self, asks: Sequence[Ask]) -> list[Seen]:
            return [
                Seen("", np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(ask.patch[:1:-1], np.float32))
                for ask in asks
            ]

    (end,) = together.run(Blind(), [next(searches())]).values()
    assert isinstance(end.outcome, Outcome)
    assert (end.outcome.final, end.outcome.is_successful, end.outcome.places) == (None, False, [])
    assert end.outcome.path_length == len(end.outcome.path) > 1


@given(
    st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(4, 3000), st.integers(4, 3000)).filter(
        lambda box: max(box[2:]) <= 10 * min(box[2:])
    )
)
def test_a_split_covers_the_patch_exactly(box: tuple[int, int, int, int]) -> None:
    patch = Patch(*box)
    parts = split(patch)
    assert len(parts) == 4 and all(part.width > 0 and part.height > 0 for part in parts)
    assert sum(part.width * part.height for part in parts) == patch.width * patch.height
    assert min(part.x for part in parts) == patch.x and min(part.y for part in parts) == patch.y
    assert max(part.x + part.width for part in parts) == patch.x + patch.width
    assert max(part.y + part.height for part in parts) == patch.y + patch.height


@pytest.mark.parametrize(("size", "smallest"), [((2246, 1582), 396), ((400, 300), 224), ((900, 4000), 225)])
def test_smallest_patch_of_the_published_settings(size: tuple[int, int], smallest: int) -> None:
    assert Settings().smallest(size) == smallest


def test_cue_thresholds_decay_to_their_minimum() -> None:
    assert [round(Settings().cue_threshold(level), 3) for level in (1, 2, 3, 9)] == [6.0, 4.2, 3.0, 3.0]


def test_a_phrase_without_one_chunk_is_a_region() -> None:
    assert cue("The cup is most likely to appear somewhere.", "cup", lambda text: []) == "region somewhere"
    two = [
        Token("tables", " ", "NOUN", "pobj", 0),
        Token("and", " ", "CCONJ", "cc", 0),
        Token("it", "", "PRON", "conj", 0),
    ]
    assert noun_chunks(two) == ["tables", "it"]
    assert cue("most likely to appear on x", "cup", lambda text: two) == "region on x"
