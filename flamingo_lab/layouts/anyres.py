"""How LLaVA-1.6's config.json says that pictures of any resolution are cut."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from flamingo_lab.config import Tower
from flamingo_lab.errors import BadConfig
from flamingo_lab.tiles import Tiling

MERGES = ("flat", "spatial", "spatial_unpad")


def tiling(config: Mapping[str, Any], tower: Tower) -> Tiling | None:
    """How pictures are cut, None where they are not."""
    if config.get("image_aspect_ratio") != "anyres":
        return None
    merge = config.get("mm_patch_merge_type", "flat")
    if merge not in MERGES:
        raise BadConfig(f"config.json: mm_patch_merge_type {merge!r} is none of {', '.join(MERGES)}")
    grids = _grids(config.get("image_grid_pinpoints"), tower.image_px)
    return Tiling(grids, tower.image_px, tower.image_px // tower.patch_px, merge)


def _grids(pinpoints: object, tile_px: int) -> tuple[tuple[int, int], ...]:
    """The canvases (width, height) of `image_grid_pinpoints`, a list or the text of one; each a whole number of tiles."""
    try:
        pairs: Any = ast.literal_eval(pinpoints) if isinstance(pinpoints, str) else pinpoints
        grids = tuple((int(width), int(height)) for width, height in pairs)
    except (ValueError, TypeError, SyntaxError):
        grids = ()
    if not grids or any(side < tile_px or side % tile_px for grid in grids for side in grid):
        raise BadConfig(
            f"config.json: image_grid_pinpoints {pinpoints!r} is no list of (width, height) in tiles of {tile_px} pixels"
        )
    return grids
