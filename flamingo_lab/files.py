"""Published files: small ones as objects, any of them by digest. Needs no torch."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flamingo_lab.errors import BadCheckpoint

COPIED = "quantised.json"
"""What makes a folder a quantised copy, see `quant/copy.py`."""

PIECE_BYTES = 4 * 2**20
"""Of a file at a time."""

BLOCK_BYTES = 4096
"""Where reads past the system's cache begin and end; no disk has larger blocks."""


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a checkpoint's folder. Raises `BadCheckpoint`."""
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadCheckpoint(f"{file}: missing; the folder is not a complete checkpoint") from None
    except (OSError, ValueError) as error:
        raise BadCheckpoint(f"{file}: not readable as JSON ({error}); download it again") from None
    if not isinstance(held, dict):
        raise BadCheckpoint(f"{file}: expected a JSON object")
    return held


def file_digest(file: Path, *, is_cached: bool = True) -> str:
    """Hex SHA-256 of a file's contents. `is_cached`: see `pieces`."""
    digest = hashlib.sha256()
    for piece in pieces(file, is_cached=is_cached):
        digest.update(piece)
    return digest.hexdigest()


def pieces(
    file: Path, first: int = 0, end: int | None = None, *, buffer: mmap.mmap | None = None, is_cached: bool = True
) -> Iterator[memoryview]:
    """The bytes from first to end (that of the file), as many at a time as the buffer has; a piece is good until the next.

    Whoever reads often brings a buffer, whose pages are touched once. Unless `is_cached`, nothing of what is read stays in
    the system's cache: reads go past it where the file system can do that, which also takes a fraction of the processor's time.
    """
    # A map begins at a page, as reads past the cache have to.
    whole = memoryview(mmap.mmap(-1, PIECE_BYTES) if buffer is None else buffer)
    descriptor = _opened(file, is_cached=is_cached)
    try:
        end = os.fstat(descriptor).st_size if end is None else end
        at = start = first // BLOCK_BYTES * BLOCK_BYTES
        while at < end:
            wanted = min(len(whole), -(-(end - at) // BLOCK_BYTES) * BLOCK_BYTES)
            try:
                count = os.preadv(descriptor, [whole[:wanted]], at)
            except OSError:  # some file systems tell only now that they cannot
                if is_cached:
                    raise
                os.close(descriptor)
                is_cached, descriptor = True, os.open(file, os.O_RDONLY)
                continue
            if not count or (count % BLOCK_BYTES and at + count < end):
                raise BadCheckpoint(f"{file}: truncated to {at + count} bytes; download it again")
            yield whole[max(first - at, 0) : min(count, end - at)]
            at += count
            if not is_cached and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(descriptor, start, at - start, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _opened(file: Path, *, is_cached: bool) -> int:
    if not is_cached and hasattr(os, "O_DIRECT"):
        try:
            return os.open(file, os.O_RDONLY | os.O_DIRECT)
        except OSError:  # a file system that cannot; or the file is not there, as the next line says
            pass
    return os.open(file, os.O_RDONLY)
