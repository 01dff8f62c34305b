"""Requests are cut into pieces that share beginnings, whatever their number, and none is lost."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image as pil

import flamingo_lab as fl
from flamingo_lab.replicas import beginnings
from flamingo_lab.replicas.beginnings import PICTURE_LETTERS, WINDOW, Beginnings, key, worth


def request(number: int, *parts: fl.Image | str) -> fl.Request:
    return fl.Request(str(number), fl.Prompt.raw(*parts))


def grouped(groups: int, each: int) -> list[fl.Request]:
    """Questions behind a long text that those of a group share, in mixed order."""
    made = [
        request(group * each + number, f"{group:03} " + "shared " * 40, f"question {number}")
        for group in range(groups)
        for number in range(each)
    ]
    random.Random(0).shuffle(made)
    return made


def pieces(requests: Sequence[fl.Request] | Iterator[fl.Request], size: int) -> list[Sequence[fl.Request]]:
    plan = Beginnings(requests)
    return list(iter(lambda: plan.take(size), []))


@pytest.mark.parametrize("size", [1, 2, 7, 100, 10_000])
def test_every_request_is_in_one_piece(size: int) -> None:
    made = grouped(30, 11)
    for source in (made, iter(made)):
        ids = [one.id for piece in pieces(source, size) for one in piece]
        assert sorted(ids) == sorted(one.id for one in made)


def test_pieces_have_about_the_size_that_is_asked_for() -> None:
    sizes = [len(piece) for piece in pieces(grouped(50, 20), 60)]
    assert all(30 <= size <= 90 for size in sizes[:-1])


def test_a_group_is_not_torn_where_a_cut_between_groups_is_near() -> None:
    found = pieces(grouped(50, 20), 60)
    homes = [
        {number for number, piece in enumerate(found) for one in piece if int(one.id) // 20 == group}
        for group in range(50)
    ]
    assert all(len(home) == 1 for home in homes)


def picture(shade: int) -> fl.Image:
    return fl.Image(pil.new("RGB", (4, 4), (shade, 0, 0)))


def test_equal_text_behind_different_pictures_is_no_shared_beginning() -> None:
    first, second = (key(fl.Prompt.raw(picture(shade), "What is this?")) for shade in (1, 2))
    assert worth(first, first) > PICTURE_LETTERS
    assert worth(first, second) < 20


def test_the_same_picture_in_another_object_is_the_same_beginning() -> None:
    first, second = (key(fl.Prompt.raw(picture(1), question)) for question in ("What?", "Where?"))
    assert PICTURE_LETTERS < worth(first, second) < PICTURE_LETTERS + 100


def test_a_shared_picture_is_worth_more_than_a_sentence() -> None:
    """So a cut falls between pictures where it can."""
    made = [request(10 * shade + n, picture(shade), f"How many are there? {n}") for shade in range(9) for n in range(7)]
    assert all(len(piece) % 7 == 0 for piece in pieces(made, 14))


def test_a_picture_that_cannot_be_read_does_not_stop_the_plan(tmp_path: Path) -> None:
    made = [request(n, fl.Image(tmp_path / f"{n}.png"), "What?") for n in range(3)]
    assert sum(map(len, pieces(made, 2))) == 3


def test_common_lengths_are_exact() -> None:
    drawn = random.Random(1)
    texts = ["".join(drawn.choices("ab", k=drawn.randint(0, 12))) for _ in range(60)]
    for first, second in itertools.product(texts, texts):
        expected = next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), None)
        assert worth(first, second) == (min(len(first), len(second)) if expected is None else expected)


def test_a_stream_is_read_one_window_ahead_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginnings, "WINDOW", 100)
    read = itertools.count()
    plan = Beginnings(request(next(read), "question") for _ in range(1000))
    assert plan.left is None
    plan.take(10)
    assert next(read) == 101
    assert WINDOW > 100


def test_what_is_left_is_known_of_a_list_and_at_the_end_of_a_stream() -> None:
    made = grouped(3, 10)
    listed, streamed = Beginnings(made), Beginnings(iter(made))
    assert (listed.left, streamed.left) == (30, None)
    taken = len(listed.take(10)), len(streamed.take(10))
    assert (listed.left, streamed.left) == (30 - taken[0], 30 - taken[1])
