"""Files in pieces, with and without the system's cache."""

from __future__ import annotations

import hashlib
import mmap
import os
from pathlib import Path
from typing import Any

import pytest

from flamingo_lab.errors import BadCheckpoint
from flamingo_lab.files import BLOCK_BYTES, file_digest, pieces

CONTENT = bytes(range(251)) * 100


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize("is_cached", [True, False])
@pytest.mark.parametrize("first", [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, 3 * BLOCK_BYTES + 7])
@pytest.mark.parametrize("end", [None, 4 * BLOCK_BYTES, 5 * BLOCK_BYTES + 1])
def test_any_part_of_a_file_comes_in_order(first: int, end: int | None, is_cached: bool, file: Path) -> None:
    found = [bytes(piece) for piece in pieces(file, first, end, buffer=mmap.mmap(-1, BLOCK_BYTES), is_cached=is_cached)]
    assert b"".join(found) == CONTENT[first:end]
    assert max(map(len, found)) <= BLOCK_BYTES


def test_no_more_is_read_than_the_blocks_that_hold_the_part(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, counts = os.preadv, list[int]()
    monkeypatch.setattr(os, "preadv", lambda *given: counts.append(read(*given)) or counts[-1])
    assert b"".join(map(bytes, pieces(file, 10, BLOCK_BYTES + 10, is_cached=False))) == CONTENT[10 : BLOCK_BYTES + 10]
    assert sum(counts) == 2 * BLOCK_BYTES


@pytest.mark.parametrize("is_cached", [True, False])
def test_a_digest_does_not_depend_on_how_the_file_is_read(is_cached: bool, file: Path) -> None:
    assert file_digest(file, is_cached=is_cached) == hashlib.sha256(CONTENT).hexdigest()


def test_a_file_system_that_always_caches_is_read_all_the_same(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuses(path: Path, flags: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(22, "Invalid argument")
        return opened(path, flags)

    monkeypatch.setattr(os, "open", refuses)
    assert file_digest(file, is_cached=False) == hashlib.sha256(CONTENT).hexdigest()


def test_a_file_system_that_refuses_when_it_is_read_is_read_all_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, read, direct = os.open, os.preadv, list[int]()

    def notes(path: Path, flags: int) -> int:
        descriptor = opened(path, flags)
        direct.extend([descriptor] if flags & os.O_DIRECT else [])
        return descriptor

    def refuses(descriptor: int, *given: Any) -> int:
        if descriptor in direct:
            direct.remove(descriptor)
            raise OSError(22, "Invalid argument")
        return read(descriptor, *given)

    monkeypatch.setattr(os, "open", notes)
    monkeypatch.setattr(os, "preadv", refuses)
    assert file_digest(file, is_cached=False) == hashlib.sha256(CONTENT).hexdigest()


def test_a_file_that_ends_too_early_is_told(file: Path) -> None:
    with pytest.raises(BadCheckpoint, match="weights: truncated to 25100 bytes"):
        list(pieces(file, 0, len(CONTENT) + 1))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        file_digest(tmp_path / "weights", is_cached=False)
