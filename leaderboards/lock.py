"""One writer a run: an advisory lock of the operating system, which ends with its process however that ends."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from leaderboards.errors import RunLocked
from leaderboards.files import told

LOCK = "lock"
"""The file's name in a run's folder."""


@contextmanager
def locked(path: Path) -> Generator[None]:
    """Hold the lock file. Raises `RunLocked`, naming the holder, where another process does."""
    with told(path):
        stream = path.open("a+", encoding="utf-8")
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunLocked(
                f"{path.parent}: this run is being written by {_holder(path)}; wait for it or end it"
            ) from None
        with told(path):
            stream.truncate(0)
            stream.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
            stream.flush()
        yield


def is_held(path: Path) -> bool:
    """Whether some process holds the lock file; none does where it cannot be asked."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _holder(path: Path) -> str:
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return f"process {held['pid']} on {held['host']}"
    except (OSError, ValueError, KeyError):
        return "another process"
