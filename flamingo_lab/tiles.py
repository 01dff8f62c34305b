"""One picture as several views for the tower, and their tokens as one sequence again (LLaVA-1.6, "any resolution").

The arithmetic, its order and its rounding are those of haotian-liu/LLaVA, llava/mm_utils.py and llava_arch.py. Needs no
torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

Size = tuple[int, int]
"""(width, height)."""


class Kept(NamedTuple):
    """The rows and columns of the tiles' token grid that show the picture, not its padding; half-open ranges."""

    top: int
    bottom: int
    left: int
    right: int


@dataclass(frozen=True)
class Tiling:
    """A view of the whole picture, then tiles of one of the `grids`, row by row.

    `grids`: canvases (width, height) in pixels; `tile_px`: a view's side; `side_tokens`: a view's tokens along a side.
    `merge`: "flat" puts the views' tokens one after another; "spatial" the tiles' tokens in rows over the whole canvas;
    "spatial_unpad" leaves out rows and columns of padding and ends every row with a newline token.
    """

    grids: tuple[Size, ...]
    tile_px: int
    side_tokens: int
    merge: Literal["flat", "spatial", "spatial_unpad"]

    @property
    def has_newline(self) -> bool:
        """Whether rows end with a learned token."""
        return self.merge == "spatial_unpad"

    def grid(self, size: Size) -> Size:
        """The canvas for a picture: the most of its pixels, then the least waste; the first among equals."""
        width, height = size

        def fit(canvas: Size) -> tuple[int, int]:
            scale = min(canvas[0] / width, canvas[1] / height)
            shown = min(int(width * scale) * int(height * scale), width * height)
            return shown, -(canvas[0] * canvas[1] - shown)

        return max(self.grids, key=fit)

    def inner(self, size: Size) -> Size:
        """What the picture is resized to before it is centred on its canvas."""
        (width, height), (full_width, full_height) = size, self.grid(size)
        scale_width, scale_height = full_width / width, full_height / height
        if scale_width < scale_height:
            return full_width, min(math.ceil(height * scale_width), full_height)
        return min(math.ceil(width * scale_height), full_width), full_height

    def shape(self, size: Size) -> tuple[int, int]:
        """(rows, columns) of tiles."""
        width, height = self.grid(size)
        return height // self.tile_px, width // self.tile_px

    def views(self, size: Size) -> int:
        """How many views a picture becomes."""
        rows, columns = self.shape(size)
        return 1 + rows * columns

    def kept(self, size: Size) -> Kept:
        """What of the canvas' tokens is kept.

        QUIRK: the scaled side is cut to a whole number without rounding first, so a float just below one loses a row
        (golden llava_v16, the panorama picture).
        """
        rows, columns = self.shape(size)
        height, width = rows * self.side_tokens, columns * self.side_tokens
        if self.merge != "spatial_unpad":
            return Kept(0, height, 0, width)
        own_width, own_height = size
        if own_width / own_height > width / height:
            scale = width / own_width
            padding = (height - int(own_height * scale)) // 2
            return Kept(padding, height - padding, 0, width)
        scale = height / own_height
        padding = (width - int(own_width * scale)) // 2
        return Kept(0, height, padding, width - padding)

    def tokens(self, size: Size) -> int:
        """How many tokens a picture becomes."""
        of_view = self.side_tokens**2
        if self.merge == "flat":
            return self.views(size) * of_view
        kept = self.kept(size)
        return of_view + (kept.bottom - kept.top) * (kept.right - kept.left + self.has_newline)
