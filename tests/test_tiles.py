"""Pictures of any resolution: canvas, tiles, rows, columns and tokens of known sizes, and what a model really gives."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as pil

from flamingo_lab.config import Architecture, Decoder, Inline, Projector, Tower
from flamingo_lab.pixels import RGB, CentreCrop, Normalise, OneView, ResizeShortest, Views
from flamingo_lab.tiles import Size, Tiling
from flamingo_lab.vlm import VLM, canvas
from tests.families.tiny_llava import picture

GRIDS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
"""LLaVA-1.6's, (width, height)."""

PUBLISHED = Tiling(GRIDS, tile_px=336, side_tokens=24, merge="spatial_unpad")


@pytest.mark.parametrize(
    ("size", "grid", "views", "kept", "tokens"),
    [
        ((336, 336), (336, 672), 3, (24, 24), 1176),
        ((640, 480), (672, 672), 5, (36, 48), 2340),
        ((480, 640), (672, 672), 5, (48, 36), 2352),
        ((500, 375), (672, 672), 5, (36, 48), 2340),
        ((1000, 1000), (672, 672), 5, (48, 48), 2928),
        ((1920, 1080), (672, 672), 5, (28, 48), 1948),
        ((1080, 1920), (672, 672), 5, (48, 28), 1968),
        ((300, 1200), (336, 1008), 4, (72, 18), 1944),
        ((1200, 300), (1008, 336), 4, (18, 72), 1890),
        ((2000, 600), (1008, 336), 4, (22, 72), 2182),
        ((100, 50), (336, 672), 3, (12, 24), 876),
    ],
)
def test_the_authors_table(size: Size, grid: Size, views: int, kept: tuple[int, int], tokens: int) -> None:
    """Computed with the authors' functions; kept as (rows, columns)."""
    assert PUBLISHED.grid(size) == grid
    assert PUBLISHED.views(size) == views
    assert rows_and_columns(PUBLISHED, size) == kept
    assert PUBLISHED.tokens(size) == tokens


def rows_and_columns(tiling: Tiling, size: Size) -> tuple[int, int]:
    kept = tiling.kept(size)
    return kept.bottom - kept.top, kept.right - kept.left


EDGES = [(704, 396), (752, 423), (1408, 792), (396, 704), (656, 205), (328, 205), (205, 656)]
"""Sizes whose scaled side is a whole number that double precision puts just below it."""


def test_floats_just_below_a_whole_number_are_cut() -> None:
    """QUIRK of the authors: rounding first (as transformers does) keeps two rows or columns more in every one of these."""
    assert rows_and_columns(PUBLISHED, (704, 396)) == (26, 48)
    assert rows_and_columns(PUBLISHED, (396, 704)) == (48, 26)
    for width, height in EDGES:
        rows, columns = (side * 24 for side in PUBLISHED.shape((width, height)))
        is_wide = width / height > columns / rows
        exact = height * (columns / width) if is_wide else width * (rows / height)
        assert int(exact) == round(exact) - 1
        full, seen = (rows, 0) if is_wide else (columns, 1)
        rounded = full - 2 * ((full - round(exact)) // 2)
        assert rounded - rows_and_columns(PUBLISHED, (width, height))[seen] == 2
    rows, columns = rows_and_columns(PUBLISHED, (704, 396))
    assert (rows + 2) * (columns + 1) + 576 - PUBLISHED.tokens((704, 396)) == 98


def test_a_panorama_of_the_goldens_shape() -> None:
    """188 x 47 at 28 pixels a tile and 4 x 4 tokens: its height comes out as 2.9999999999999996."""
    small = Tiling(((28, 56), (56, 28), (56, 56), (84, 28), (28, 84)), 28, 4, "spatial_unpad")
    assert rows_and_columns(small, (188, 47)) == (2, 12)
    assert small.tokens((188, 47)) == 42


@given(width=st.integers(1, 336), height=st.integers(1, 336))
def test_small_pictures_get_the_first_of_two_canvases_that_tie(width: int, height: int) -> None:
    """Where all of a picture fits two canvases of two tiles, the authors' list has the tall one first."""
    assert PUBLISHED.grid((width, height)) == (336, 672)


def best(size: Size, grids: Sequence[Size]) -> Size:
    """The authors' rule, in a loop: most pixels, then least waste, the first among equals."""
    width, height = size
    found, most, least = (0, 0), 0, math.inf
    for wide, high in grids:
        scale = min(wide / width, high / height)
        shown = min(int(width * scale) * int(height * scale), width * height)
        waste = wide * high - shown
        if shown > most or (shown == most and waste < least):
            found, most, least = (wide, high), shown, waste
    return found


@settings(max_examples=300)
@given(width=st.integers(1, 3000), height=st.integers(1, 3000), grids=st.permutations(GRIDS))
def test_the_canvas_is_the_first_best(width: int, height: int, grids: list[Size]) -> None:
    tiling = Tiling(tuple(grids), tile_px=336, side_tokens=24, merge="spatial_unpad")
    assert tiling.grid((width, height)) == best((width, height), grids)


def test_of_canvases_that_show_as_many_pixels_the_one_with_less_waste_is_taken() -> None:
    tiling = Tiling(((672, 672), (336, 672)), tile_px=336, side_tokens=24, merge="spatial_unpad")
    assert tiling.grid((100, 100)) == (336, 672)


TILE_PX, SIDE = 12, 3

SMALL = [tuple((width // 28, height // 28) for width, height in GRIDS), ((12, 12),), ((24, 12), (36, 36))]
"""The published canvases in tiles of 12 pixels; one that is a single tile; some that are not symmetric."""


def model(tiling: Tiling) -> VLM:
    tower = Tower(TILE_PX, TILE_PX // SIDE, 4, 1, 1, 4, reads_layer=-1, drops_first=True)
    decoder = Decoder(vocab=2, width=4, layers=1, heads=1, mlp_width=4, positions=8)
    return VLM(Architecture(tower, Projector((4, 4)), decoder, Inline(), tiling)).eval()


@settings(max_examples=120, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    grids=st.sampled_from(SMALL),
    merge=st.sampled_from(["flat", "spatial", "spatial_unpad"]),
)
def test_tokens_are_as_many_as_the_model_gives(size: Size, grids: tuple[Size, ...], merge: str) -> None:
    tiling = Tiling(grids, TILE_PX, SIDE, merge)  # pyright: ignore[reportArgumentType]
    plain = OneView((RGB(), ResizeShortest(TILE_PX), CentreCrop(TILE_PX)), Normalise())
    views = Views((RGB(),), tiling, plain)(picture(0, size).load())
    assert len(views) == tiling.views(size)
    with torch.inference_mode():
        (tokens,) = model(tiling).encode([torch.from_numpy(views)], [size])
    assert len(tokens) == tiling.tokens(size)


def test_tiles_stand_row_by_row_behind_the_whole_picture_and_lines_end_with_the_newline() -> None:
    """Each token is its view's number and place, so the order can be read off."""
    tiling = Tiling(((24, 24),), TILE_PX, 2, "spatial_unpad")
    tiles = torch.arange(16.0).view(4, 4, 1)  # four tiles of 2 x 2 tokens
    newline = torch.tensor([-1.0])
    rows = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert canvas(tiles, tiling, (24, 24), newline)[:, 0].tolist() == [x for row in rows for x in (*row, -1)]
    # Half as high: the first and the last row of the canvas are padding.
    assert canvas(tiles, tiling, (24, 12), newline)[:, 0].tolist() == [x for row in rows[1:3] for x in (*row, -1)]
    narrow = [x for row in rows for x in (*row[1:3], -1)]
    assert canvas(tiles, tiling, (12, 24), newline)[:, 0].tolist() == narrow
    whole = Tiling(((24, 24),), TILE_PX, 2, "spatial")
    assert canvas(tiles, whole, (24, 12), None)[:, 0].tolist() == [x for row in rows for x in row]


def test_the_canvas_is_black_around_a_centred_picture() -> None:
    tiling = Tiling(((24, 24),), TILE_PX, SIDE, "spatial_unpad")
    plain = OneView((RGB(),), Normalise((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
    views = Views((RGB(),), tiling, plain)(pil.new("RGB", (24, 9), (255, 255, 255)))
    whole, *tiles = views
    assert whole.min() == 1  # squeezed to the square, nothing around it
    upper = torch.cat([torch.from_numpy(tile) for tile in tiles[:2]], 2)
    lower = torch.cat([torch.from_numpy(tile) for tile in tiles[2:]], 2)
    shown = torch.cat((upper, lower), 1)[0].mean(1)
    # 24 x 9 on 24 x 24: seven black rows above, eight below.
    assert shown.tolist() == [0.0] * 7 + [1.0] * 9 + [0.0] * 8
