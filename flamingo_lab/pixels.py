"""From a decoded picture to the array that a tower takes: small steps, in the order of the authors' processors.

A family's pipeline is a tuple of steps; its `repr` is part of a run's identity. Resizing is Pillow's, on uint8: the
kernel is part of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from flamingo_lab.errors import BadConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class Step(Protocol):
    """One step on the decoded picture."""

    def __call__(self, picture: Picture) -> Picture: ...


@dataclass(frozen=True)
class RGBOnWhite:
    """RGB stays; any other mode is composed over white, so that transparency and palettes read as on paper."""

    def __call__(self, picture: Picture) -> Picture:
        from PIL import Image as pil

        if picture.mode == "RGB":
            return picture
        picture = picture.convert("RGBA")
        return pil.alpha_composite(pil.new("RGBA", picture.size, (255, 255, 255)), picture).convert("RGB")


@dataclass(frozen=True)
class Resize:
    """Straight to width x height, bicubic; the aspect ratio is not kept."""

    width_px: int
    height_px: int

    def __call__(self, picture: Picture) -> Picture:
        from PIL import Image as pil

        return picture.resize((self.width_px, self.height_px), pil.Resampling.BICUBIC)


@dataclass(frozen=True)
class Normalise:
    """(H, W, 3) uint8 -> (3, H, W) float32: over 255, less the mean, over the deviation, rounded in this order."""

    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    def __call__(self, picture: Picture) -> NDArray[np.float32]:
        import numpy as np

        scaled = (np.asarray(picture) * (1 / 255)).astype(np.float32)
        normalised = (scaled - np.array(self.mean, np.float32)) / np.array(self.std, np.float32)
        return np.ascontiguousarray(normalised.transpose(2, 0, 1))


@dataclass(frozen=True)
class Pipeline:
    """Picture -> pixels (3, H, W) float32."""

    steps: tuple[Step, ...]
    normalise: Normalise

    def __call__(self, picture: Picture) -> NDArray[np.float32]:
        for step in self.steps:
            picture = step(picture)
        return self.normalise(picture)


def triple(settings: Mapping[str, Any], key: str, default: Sequence[float]) -> tuple[float, ...]:
    """Three numbers from a processor's published settings."""
    values = settings.get(key, default)
    if not isinstance(values, Sequence) or len(values) != 3 or not all(isinstance(v, int | float) for v in values):
        raise BadConfig(f"preprocessor_config.json: {key} is {values!r}; three numbers are expected")
    return tuple(float(value) for value in values)
