"""What the parts of a model have in common: the functions between linear layers, the norms, and which sizes can be."""

from __future__ import annotations

from typing import Literal

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "relu_squared", "silu"]

Norm = Literal["rms", "layer", "layer_without_bias"]

MOST = 1_000
"""Layers of one part, or experts of one layer: more than any model has."""

LARGEST = 1e12
"""Far beyond any base of rotary positions, the largest of the numbers that are computed with."""

MOST_PX = 2**14
"""Of a side to which pictures are resized: more than any tower or processor asks for."""


def check_counts(**counts: object) -> None:
    """Raise `ValueError` for what is no whole number from one to `LARGEST`. None is for what is not there."""
    for what, count in counts.items():
        if count is not None and (type(count) is not int or not 0 < count <= LARGEST):
            raise ValueError(f"{what} is {count!r}; a whole number from 1 to {LARGEST:g} is expected")


def check_few(**counts: int) -> None:
    """`check_counts`, and `ValueError` for more than `MOST`: parts are built one by one, and would be without an end."""
    check_counts(**counts)
    for what, count in counts.items():
        if count > MOST:
            raise ValueError(f"{count} {what}; {MOST} at most are expected")


def check_side(image_px: int) -> None:
    """`check_counts`, and `ValueError` for more than `MOST_PX`."""
    check_counts(image_px=image_px)
    if image_px > MOST_PX:
        raise ValueError(f"pictures of {image_px} pixels; {MOST_PX} at most are expected")


def check_numbers(**numbers: object) -> None:
    """Raise `ValueError` for what is no number from zero to `LARGEST`. None is for what is not there."""
    for what, number in numbers.items():
        if number is not None and not (isinstance(number, int | float) and 0 <= number <= LARGEST):
            raise ValueError(f"{what} is {number!r}; a number from 0 to {LARGEST:g} is expected")
