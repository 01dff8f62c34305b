"""Small published files. Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flamingo_lab.errors import BadCheckpoint


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
