"""The pictures of the last stage: easy-VQA's training split and drawn ones, as the frozen tower sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flamingo_lab.nn.vit import VisionTower
from flamingo_lab.train.language import NO_YES, YES_NO
from flamingo_lab.train.pictures import COLOURS, KINDS, SHAPES, draw, normalised

HELD_OUT = 400
"""Training pictures of easy-VQA, the last ones, that are kept for measuring and never trained on."""


@dataclass(frozen=True)
class Pool:
    """features (N, P, D) of the tower; `by_kind`: the pictures that show each kind."""

    features: Tensor
    by_kind: Mapping[int, NDArray[np.int64]]

    def choose(self, kind: int, random: np.random.Generator) -> int:
        """A picture of this kind."""
        held = self.by_kind[kind]
        return int(held[random.integers(len(held))])


def labels() -> dict[int, int]:
    """The kind that each easy-VQA training picture shows, where its questions and answers tell."""
    import easy_vqa

    colours: dict[int, str] = {}
    shapes: dict[int, str] = {}
    says_yes = {
        form.format(thing=thing): (thing, answer) for thing in _things() for forms, answer in _FORMS for form in forms
    }
    for question, answer, picture in zip(*easy_vqa.get_train_questions(), strict=True):
        thing, positive = says_yes.get(question, (answer, answer))
        if positive == answer:
            thing = thing.removesuffix(" shape")
            (colours if thing in COLOURS else shapes)[picture] = thing
    return {
        picture: KINDS.index((colours[picture], shapes[picture])) for picture in sorted(colours.keys() & shapes.keys())
    }


_FORMS = ((YES_NO, "yes"), (NO_YES, "no"))


def _things() -> list[str]:
    return [*SHAPES, *(f"{colour} shape" for colour in COLOURS)]


def easy_vqa_pictures() -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
    """Pixels (N, 64, 64, 3) and kinds (N,) of the labelled training pictures, and which of them are held out."""
    import easy_vqa
    from PIL import Image

    known = labels()
    paths = easy_vqa.get_train_image_paths()
    pixels: list[NDArray[np.uint8]] = []
    for number in known:
        with Image.open(Path(paths[number])) as picture:
            pixels.append(np.asarray(picture.convert("RGB")))
    numbers = np.array(list(known))
    return np.stack(pixels), np.array(list(known.values())), numbers >= len(paths) - HELD_OUT


def build(tower: VisionTower, drawn: int, random: np.random.Generator) -> Pool:
    """The pool: all labelled easy-VQA pictures that are not held out, and `drawn` more."""
    pixels, kinds, is_held_out = easy_vqa_pictures()
    more = draw(random.integers(len(KINDS), size=drawn), random)
    every_kind = np.concatenate((kinds[~is_held_out], more.kinds))
    features = encode(tower, np.concatenate((pixels[~is_held_out], more.pixels)))
    by_kind = {kind: np.flatnonzero(every_kind == kind) for kind in range(len(KINDS))}
    return Pool(features, by_kind)


@torch.inference_mode()
def encode(tower: VisionTower, pixels: NDArray[np.uint8]) -> Tensor:
    """The tower's tokens (N, P, D), in bfloat16 to save memory."""
    batches = [pixels[start : start + 250] for start in range(0, len(pixels), 250)]
    return torch.cat([tower(torch.from_numpy(normalised(batch))).bfloat16() for batch in batches]).clone()
