"""Prompts taken apart: each picture in its place, each shot by itself, nothing lost."""

from __future__ import annotations

import pytest

from dashboard.prompts import Part, parts, pieces

A, B, C = ("a" * 64, "b" * 64, "c" * 64)

IDEFICS = (
    f"<s><fake_token_around_image><image:{A[:12]}><fake_token_around_image>Question: 1? Answer: x\n"
    f"<fake_token_around_image><image:{B[:12]}><fake_token_around_image>Question: 2? Answer:"
)
FLAMINGO = f"<image:{A[:12]}>Question: 1? Answer: x<|endofchunk|><image:{B[:12]}>Question: 2? Answer:"
CHAT = f"A chat. USER: <image:{A[:12]}>\n1? ASSISTANT: x</s>USER: <image:{B[:12]}>\n2? ASSISTANT:"
QWEN = f"Picture 1: <img:{A[:12]}>\n1? x\nPicture 2: <img:{B[:12]}>\n2?"


def joined(found: list[Part]) -> str:
    return "".join(piece.text for part in found for piece in part.pieces)


@pytest.mark.parametrize("prompt", [IDEFICS, FLAMINGO, CHAT, QWEN])
def test_shots_are_told_apart_in_every_wording_and_nothing_is_lost(prompt: str) -> None:
    found = parts(pieces(prompt, [A, B]), 1)
    assert joined(found) == prompt
    shots = [part for part in found if part.shot is not None]
    assert [[piece.number for piece in part.pieces if piece.kind == "picture"] for part in shots] == [[0]]
    question = "".join(piece.text for piece in found[-1].pieces)
    assert "2?" in question and "1?" not in question
    assert question.startswith(("<fake_token_around_image>", "<image:b", "USER: ", "Picture 2: "))


def test_special_tokens_are_told_from_text() -> None:
    found = pieces(IDEFICS, [A, B])
    assert {piece.text for piece in found if piece.kind == "token"} == {"<s>", "<fake_token_around_image>"}
    assert [piece.number for piece in found if piece.kind == "picture"] == [0, 1]


@pytest.mark.parametrize("text", ["a < b and b > c", "2 <3", "", "\n", "<" * 50, "x: <y z>"])
def test_text_that_only_looks_like_a_token_stays_text(text: str) -> None:
    found = pieces(text, [])
    assert "".join(piece.text for piece in found) == text
    assert all(piece.kind == "text" for piece in found)


def test_a_picture_that_the_text_does_not_name_leaves_the_others_in_place() -> None:
    found = pieces(FLAMINGO, [A, C, B])
    assert [piece.number for piece in found if piece.kind == "picture"] == [0, 2]


def test_pictures_that_do_not_tell_the_shots_apart_leave_the_prompt_whole() -> None:
    assert [part.shot for part in parts(pieces(FLAMINGO, [A, B]), 2)] == [None]


def test_two_pictures_a_shot_stay_together() -> None:
    prompt = "".join(
        f"<image:{digest[:12]}>" + ("x\n" if number % 2 else "") for number, digest in enumerate([A, B, C, A])
    )
    found = parts(pieces(prompt, [A, B, C, A]), 1)
    numbers = [[piece.number for piece in part.pieces if piece.kind == "picture"] for part in found]
    assert numbers == [[0, 1], [2, 3]]
    assert joined(found) == prompt
