"""Published files: small ones as objects, any of them by digest. Needs no torch."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from flamingo_lab.errors import BadCheckpoint

COPIED = "quantised.json"
"""What makes a folder a quantised copy, see `quant/copy.py`."""

DIGEST_BYTES = 4 * 2**20
"""Of a file at a time."""


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
    """Hex SHA-256 of a file's contents. Unless `is_cached`, the system's cache of the file lets go of them."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(DIGEST_BYTES))
    with file.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            digest.update(buffer[:count])
            if not is_cached and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(stream.fileno(), 0, stream.tell(), os.POSIX_FADV_DONTNEED)
    return digest.hexdigest()
