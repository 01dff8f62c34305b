"""Files that are either whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from leaderboards.errors import BadStore


@contextmanager
def told(path: Path) -> Generator[None]:
    """Turn the operating system's refusals into one clear line about `path`."""
    try:
        yield
    except OSError as error:
        raise BadStore(
            f"{path}: cannot be written ({error.strerror or error}); choose another --results folder"
        ) from None


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write through a temporary name: flushed to the disk, then renamed, so that readers see the old file or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with told(path):
        try:
            with temporary.open("wb") as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
