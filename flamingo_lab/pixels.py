"""From a decoded picture to the arrays that a tower takes: small steps, in the order of the authors' processors.

A family's pipeline is data; its `repr` is part of a run's identity. Resizing is Pillow's, on uint8: the kernel is part of
the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from flamingo_lab.errors import BadConfig
from flamingo_lab.patches import Patching
from flamingo_lab.tiles import Tiling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Kernel = Literal["nearest", "bilinear", "bicubic", "lanczos"]


class Step(Protocol):
    """One step on the decoded picture."""

    def __call__(self, picture: Picture) -> Picture: ...


@dataclass(frozen=True)
class RGB:
    """Pillow's own conversion: transparency is dropped, palettes are looked up."""

    def __call__(self, picture: Picture) -> Picture:
        return picture.convert("RGB")


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
    """Straight to width x height; the aspect ratio is not kept."""

    width_px: int
    height_px: int
    kernel: Kernel = "bicubic"

    def __call__(self, picture: Picture) -> Picture:
        return picture.resize((self.width_px, self.height_px), resampling(self.kernel))


@dataclass(frozen=True)
class ResizeShortest:
    """The shorter side to `px`; the longer one is cut to a whole number."""

    px: int
    kernel: Kernel = "bicubic"

    def __call__(self, picture: Picture) -> Picture:
        width, height = picture.size
        size = (self.px, int(self.px * height / width)) if width <= height else (int(self.px * width / height), self.px)
        return picture if size == picture.size else picture.resize(size, resampling(self.kernel))


@dataclass(frozen=True)
class CentreCrop:
    """The middle square; an odd rest is cut from the bottom and the right, or rounded as torchvision does."""

    px: int
    rounds: bool = False

    def __call__(self, picture: Picture) -> Picture:
        def offset(side: int) -> int:
            return round((side - self.px) / 2) if self.rounds else (side - self.px) // 2

        left, top = offset(picture.width), offset(picture.height)
        return picture.crop((left, top, left + self.px, top + self.px))


@dataclass(frozen=True)
class PadSquare:
    """A square of the longer side in one colour, the picture in its middle or in its left upper corner."""

    colour: tuple[int, int, int]
    at: Literal["middle", "corner"] = "middle"

    def __call__(self, picture: Picture) -> Picture:
        from PIL import Image as pil

        side = max(picture.size)
        square = pil.new("RGB", (side, side), self.colour)
        is_middle = self.at == "middle"
        square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2) if is_middle else (0, 0))
        return square


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


class Pipeline(Protocol):
    """Picture -> its views as arrays, (views, 3, H, W) float32; its patches, (patches, pixels and colours), without a tower."""

    def __call__(self, picture: Picture) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class OneView:
    """Picture -> (1, 3, H, W) float32."""

    steps: tuple[Step, ...]
    normalise: Normalise

    def __call__(self, picture: Picture) -> NDArray[np.float32]:
        for step in self.steps:
            picture = step(picture)
        return self.normalise(picture)[None]


@dataclass(frozen=True)
class Views:
    """Picture -> (1 + tiles, 3, H, W) float32: the whole picture squeezed to a square, then the tiles of its canvas.

    `first` steps are taken on the whole picture, `each` on every view. The canvas is black where the picture ends.
    """

    first: tuple[Step, ...]
    tiling: Tiling
    each: OneView

    def __call__(self, picture: Picture) -> NDArray[np.float32]:
        import numpy as np
        from PIL import Image as pil

        for step in self.first:
            picture = step(picture)
        side = self.tiling.tile_px
        width, height = self.tiling.grid(picture.size)
        inner = picture.resize(self.tiling.inner(picture.size), pil.Resampling.BICUBIC)
        canvas = pil.new("RGB", (width, height))
        canvas.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
        tiles = [
            canvas.crop((left, top, left + side, top + side))
            for top in range(0, height, side)
            for left in range(0, width, side)
        ]
        overview = picture.resize((side, side), pil.Resampling.BICUBIC)
        return np.concatenate([self.each(view) for view in (overview, *tiles)])


@dataclass(frozen=True)
class InPatches:
    """Picture -> its patches, (rows * columns, px * px * 3) float32: each one pixel by pixel, the colours of one together.

    QUIRK: `padding`, the value of what fills up the last row and column, is scaled like a pixel; the authors' 1.0 is
    nearly black then (golden fuyu_processor, small_image).
    """

    patching: Patching
    normalise: Normalise
    padding: int

    def __call__(self, picture: Picture) -> NDArray[np.float32]:
        import numpy as np
        from PIL import Image as pil

        picture = picture.convert("RGB")
        side, (rows, columns) = self.patching.patch_px, self.patching.shape(picture.size)
        if not self.patching.fits(picture.size):
            picture = picture.resize(self.patching.inner(picture.size), pil.Resampling.BILINEAR)
        canvas = pil.new("RGB", (columns * side, rows * side), (self.padding,) * 3)
        canvas.paste(picture)
        grid = self.normalise(canvas).reshape(3, rows, side, columns, side)
        return np.ascontiguousarray(grid.transpose(1, 3, 2, 4, 0)).reshape(rows * columns, -1)


def resampling(kernel: Kernel) -> Any:
    """Pillow's kernel of this name."""
    from PIL import Image as pil

    return pil.Resampling[kernel.upper()]


def triple(
    settings: Mapping[str, Any], key: str, default: Sequence[float], file: str = "preprocessor_config.json"
) -> tuple[float, ...]:
    """Three numbers from a processor's published settings."""
    values = settings.get(key, default)
    if not isinstance(values, Sequence) or len(values) != 3 or not all(isinstance(v, int | float) for v in values):
        raise BadConfig(f"{file}: {key} is {values!r}; three numbers are expected")
    return tuple(float(value) for value in values)
