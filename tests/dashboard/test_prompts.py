"""Prompts taken apart: each picture in its place, each shot by itself, nothing lost."""

from __future__ import annotations

import pytest

from dashboard.prompts import MOST_SET_APART, Part, Piece, apart, elided, parts, pieces

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


def texts(found: list[Piece], *, is_apart: bool) -> list[str]:
    return [piece.text for piece in found if piece.is_apart == is_apart]


def test_what_only_one_of_two_prompts_holds_is_marked_and_nothing_is_lost() -> None:
    few, many = pieces(FLAMINGO, [A, B]), pieces(f"Be brief. {FLAMINGO}".replace("x", "y"), [A, B])
    first, second = apart(few, many)
    assert ["".join(piece.text for piece in side) for side in (first, second)] == [
        "".join(piece.text for piece in side) for side in (few, many)
    ]
    assert texts(first, is_apart=True) == ["x"]
    assert "".join(texts(second, is_apart=True)) == "Be brief. y"
    other, _ = apart(pieces(FLAMINGO, [A, B]), pieces(FLAMINGO.replace("a" * 12, "c" * 12), [C, B]))
    assert [piece.number for piece in other if piece.is_apart] == [0]


def test_very_long_prompts_are_marked_between_what_is_alike() -> None:
    long = [" ".join(f"{side}{number}" for number in range(MOST_SET_APART)) for side in "ab"]
    first, second = apart(*(pieces(f"Now: {text} The end.", []) for text in long))
    assert texts(first, is_apart=True) == [long[0]] and texts(second, is_apart=False) == ["Now: ", " The end."]


def test_a_long_text_loses_its_middle_and_never_its_end() -> None:
    found = elided(pieces("<s>" + "a" * 500 + "b" * 500 + "and the question?", []), 100)
    assert [piece.kind for piece in found] == ["token", "text", "gap", "text"]
    assert (found[1].text, found[2].number) == ("a" * 50, 917)
    assert found[3].text.endswith("and the question?") and len(found[3].text) == 50
