"""SEAL's cases as prompts: what the authors' evaluation makes of the picture, and the objects within the text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import flamingo_lab as fl
from flamingo_lab.search import focus

SWITCHES = {"pad_image", "images_long", "objects_long", "search_result"}


def prepared(prompt: fl.Prompt, options: Mapping[str, Any], px: int) -> fl.Prompt:
    """The prompt with its picture padded or not, and a detail in place of each `<object>`, all in their lengths."""
    details = iter(_details(prompt.images[0], options, px))

    def of_turn(turn: fl.Turn) -> Iterator[fl.Image | str]:
        for part in turn.parts:
            if isinstance(part, fl.Image):
                (is_long,) = options.get("images_long") or (None,)
                whole = fl.Image(part.source, name=part.name, is_long=is_long)
                yield whole if options.get("pad_image", True) else focus.middle(whole, px)
                continue
            for number, text in enumerate(part.split("<object>")):
                if number:
                    yield next(details)
                yield text

    turns = tuple(dataclasses.replace(turn, parts=tuple(of_turn(turn))) for turn in prompt.turns)
    assert next(details, None) is None, "a searched object that the prompt does not show"
    return dataclasses.replace(prompt, turns=turns)


def _details(image: fl.Image, options: Mapping[str, Any], px: int) -> Iterator[fl.Image]:
    found = options.get("search_result", [])
    lengths = options.get("objects_long") or [None] * len(found)
    for one, is_long in zip(found, lengths, strict=True):
        yield focus.cut_out(image, focus.Box(*one["bbox"]), px, is_long=is_long)
