"""A picture of any size as a grid of its own patches, for models without a tower (Fuyu).

The arithmetic, its order and its rounding are those of transformers 4.35.0, models/fuyu/image_processing_fuyu.py. Needs
no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from flamingo_lab.errors import BadConfig, BadImage
from flamingo_lab.tiles import Size


@dataclass(frozen=True)
class Patching:
    """Square patches, row by row. A picture that does not fit the canvas is reduced until it does; none is enlarged.

    `width_px` and `height_px`: the canvas, a whole number of patches; `patch_px`: a patch's side.
    """

    width_px: int
    height_px: int
    patch_px: int

    def __post_init__(self) -> None:
        if self.width_px % self.patch_px or self.height_px % self.patch_px:
            raise BadConfig(
                f"pictures of {self.width_px} x {self.height_px} pixels are no whole number of patches of {self.patch_px}; "
                "make size in preprocessor_config.json a multiple of patch_size"
            )

    def fits(self, size: Size) -> bool:
        """Whether a picture stays as large as it is."""
        return size[0] <= self.width_px and size[1] <= self.height_px

    def inner(self, size: Size) -> Size:
        """What the picture is resized to; both sides are cut to whole numbers. Raises `BadImage` where one is lost."""
        if self.fits(size):
            return size
        width, height = size
        factor = min(self.height_px / height, self.width_px / width)
        inner = int(width * factor), int(height * factor)
        if 0 in inner:
            raise BadImage(
                f"{width} x {height} pixels are too narrow: nothing is left of them within {self.width_px} x "
                f"{self.height_px}; crop the picture"
            )
        return inner

    def shape(self, size: Size) -> tuple[int, int]:
        """(rows, columns) of patches, the last ones padded where the picture ends inside them."""
        width, height = self.inner(size)
        return -(-height // self.patch_px), -(-width // self.patch_px)

    def tokens(self, size: Size) -> int:
        """How many tokens a picture becomes."""
        rows, columns = self.shape(size)
        return rows * columns

    def scale(self, size: Size) -> float:
        """By how much the picture is reduced; a float32's value, as in the authors' tensors."""
        import numpy as np

        return float(np.float32(self.inner(size)[1] / size[1]))
