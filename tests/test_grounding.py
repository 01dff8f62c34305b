"""Phrases and boxes in Qwen-VL's texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flamingo_lab.errors import BadPrompt
from flamingo_lab.grounding import Box, Piece, boxes, grounded, pieces

CORNERS = st.tuples(*[st.integers(0, 1000)] * 4)
PHRASES = st.none() | st.text("abc é", min_size=1).map(str.strip).filter(bool)


@given(st.lists(st.tuples(PHRASES, CORNERS), max_size=4))
def test_what_is_written_reads_back(found: list[tuple[str | None, tuple[int, int, int, int]]]) -> None:
    text = " and ".join(grounded(phrase, corners) for phrase, corners in found)
    assert list(boxes(text)) == [Box(*corners, phrase) for phrase, corners in found]


def test_a_phrase_names_the_box_right_behind_it_alone() -> None:
    text = grounded("two cats", (1, 2, 3, 4), (5, 6, 7, 8)) + "<ref> dog </ref> <box>(9,9),(9,9)</box>"
    assert [box.phrase for box in boxes(text)] == ["two cats", None, None]
    assert [box.phrase for box in boxes("<ref> dog </ref><box>(9,9),(9,9)</box>")] == ["dog"]


def test_fractions_are_cut_off() -> None:
    assert grounded(None, (1.9, 2.5, 3, 4)) == "<box>(1,2),(3,4)</box>"


def test_a_text_falls_into_its_pieces() -> None:
    text = "See <img>a.png</img>: <ref>it</ref><quad>(1,1)</quad></ref>"
    assert list(pieces(text)) == [
        Piece("text", "See "),
        Piece("image", "a.png"),
        Piece("text", ": "),
        Piece("ref", "it"),
        Piece("quad", "(1,1)"),
        Piece("text", "</ref>"),
    ]
    assert list(pieces("")) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a<ref>dog", "<ref> without </ref>"),
        ("<img>a.png</ref>", "<img> without </img>"),
        ("a<|im_end|>", r"<\|im_end\|>, a token of the template"),
        ("<|extra_204|>", "a token of the template"),
        ("<box>(1,2),(3)</box>", "is no box"),
        ("<box>nowhere</box>", "is no box"),
    ],
)
def test_what_cannot_be_read_is_one_line(text: str, message: str) -> None:
    with pytest.raises(BadPrompt, match=message):
        list(boxes(text))
