"""A scripted model that shows what it sees: a vector that turns with the picture's red."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

import flamingo_lab as fl
from tests.doubles import Scripted


@dataclass
class Seeing(Scripted):
    """`embedded` are the digests of the pictures that it was shown."""

    tower: str = "tower"
    embedded: list[str] = field(default_factory=list)

    def embeds_digest(self) -> str:
        return self.tower

    @staticmethod
    def of(red: float) -> NDArray[np.float32]:
        angle = red / 255
        return np.array([np.cos(angle), np.sin(angle), 0], np.float32)

    def embed(self, images: Sequence[fl.Image]) -> NDArray[np.float32]:
        self.embedded += [image.digest for image in images]
        return np.stack([self.of(float(np.asarray(image.load().convert("RGB"))[..., 0].mean())) for image in images])
