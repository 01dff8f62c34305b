"""A picture that is named by its pixels and then loaded is decoded once, and no more is kept than may be."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as pil

import flamingo_lab as fl
from flamingo_lab import decoding


@pytest.fixture(autouse=True)
def _nothing_kept() -> Iterator[None]:
    decoding.keep_at_most(0)
    decoding.keep_at_most(decoding.KEPT_BYTES)
    yield
    decoding.keep_at_most(decoding.KEPT_BYTES)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was decoded, in order."""
    seen: list[bytes] = []
    decode = decoding.decode

    def counting(encoded: bytes) -> pil.Image:
        seen.append(encoded)
        return decode(encoded)

    monkeypatch.setattr(decoding, "decode", counting)
    return seen


def encoded(seed: int, side: int = 20) -> bytes:
    held = io.BytesIO()
    drawn = np.random.default_rng([77, seed]).integers(0, 256, (side, side, 3), dtype=np.uint8)
    pil.fromarray(drawn).save(held, "PNG")
    return held.getvalue()


def test_a_picture_is_decoded_once_for_its_name_and_its_pixels(tmp_path: Path, decoded: list[bytes]) -> None:
    file = tmp_path / "picture.png"
    file.write_bytes(encoded(0))
    first, second = fl.Image(file), fl.Image(file)
    assert first.digest == second.digest
    assert first.size == (20, 20)
    picture = first.load()
    assert len(decoded) == 1
    assert np.array_equal(np.asarray(picture), np.asarray(pil.open(io.BytesIO(encoded(0)))))


def test_what_was_taken_is_not_kept(decoded: list[bytes]) -> None:
    image = fl.Image(encoded(1))
    _ = image.digest
    assert image.load() is not image.load()
    assert len(decoded) == 2


def test_a_changed_file_is_another_picture(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    digests: set[str] = set()
    for seed in (2, 3):
        file.write_bytes(encoded(seed))
        digests.add(fl.Image(file).digest)
    assert len(digests) == 2


def test_no_more_is_kept_than_may_be(decoded: list[bytes]) -> None:
    decoding.keep_at_most(3 * 20 * 20 * 3)
    images = [fl.Image(encoded(seed)) for seed in range(10, 15)]
    for image in images:
        _ = image.digest
    for image in images:
        image.load()
    assert len(decoded) == 5 + 2
    assert [*map(decoded.count, map(encoded, range(10, 15)))] == [2, 2, 1, 1, 1]


def test_the_same_pixels_in_another_format_have_the_same_name() -> None:
    held = io.BytesIO()
    pil.open(io.BytesIO(encoded(4))).save(held, "BMP")
    assert fl.Image(held.getvalue()).digest == fl.Image(encoded(4)).digest


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flamingo_lab.prompt.MAX_FILE_BYTES", 10)
    file = tmp_path / "picture.png"
    file.write_bytes(encoded(0))
    with pytest.raises(fl.LabError, match=r"picture\.png: more than 10 bytes"):
        fl.Image(file).load()
