"""Teaches the bundled model two new words by pictures, then the same words the other way round.

    python examples/few_shot.py

The words are invented and were never trained on: only the worked examples can tell which thing each one names.
"""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

import flamingo_lab as fl

QUESTION = "what is this?"
WORDS = ("boki", "zumo")
GROUND = (244, 240, 248)

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in a picture of 64 x 64 pixels."""


def red_circle(box: Box) -> fl.Image:
    """A picture of a red circle in the box."""
    picture = Image.new("RGB", (64, 64), GROUND)
    ImageDraw.Draw(picture).ellipse(box, fill="red")
    return fl.Image(picture)


def blue_triangle(box: Box) -> fl.Image:
    """A picture of a blue triangle in the box."""
    left, top, right, bottom = box
    picture = Image.new("RGB", (64, 64), GROUND)
    ImageDraw.Draw(picture).polygon([(left, bottom), (right, bottom), ((left + right) / 2, top)], fill="blue")
    return fl.Image(picture)


def lesson(circle: str, triangle: str) -> list[fl.Shot]:
    """Worked examples that call red circles by one word and blue triangles by the other."""
    return [
        fl.Shot(red_circle((8, 8, 30, 30)), QUESTION, answer=circle),
        fl.Shot(blue_triangle((30, 20, 56, 43)), QUESTION, answer=triangle),
        fl.Shot(blue_triangle((6, 30, 26, 48)), QUESTION, answer=triangle),
        fl.Shot(red_circle((34, 12, 52, 30)), QUESTION, answer=circle),
    ]


def named(model: fl.LoadedModel, picture: fl.Image, shots: Sequence[fl.Shot]) -> fl.Answer:
    """The likelier of the two words for the picture, after the worked examples."""
    prompt = fl.Prompt.ask(picture, QUESTION, shots=shots)
    return model.generate(prompt, fl.Rank(WORDS))


def main() -> None:
    """Print what a new circle and a new triangle are called after 0, 2 and 4 worked examples, taught both ways."""
    model = fl.load("flamingo-tiny")
    new = {"new circle": red_circle((20, 28, 46, 54)), "new triangle": blue_triangle((12, 10, 42, 36))}
    for circle, triangle in (WORDS, WORDS[::-1]):
        print(f"taught: a red circle is a {circle}, a blue triangle is a {triangle}")
        for shots in (0, 2, 4):
            for what, picture in new.items():
                answer = named(model, picture, lesson(circle, triangle)[:shots])
                first, second = answer.option_logprobs or ()
                print(
                    f"  {shots} shots  {what:<12}  {answer.text}   {WORDS[0]} {first:7.2f}   {WORDS[1]} {second:7.2f}"
                )


if __name__ == "__main__":
    main()
