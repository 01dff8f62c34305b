"""Where the tests' material lies: goldens, real data, official cases. Absent in a plain clone; such tests then skip."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"

GOLDENS = Path(os.environ.get("FLAB_GOLDENS", SHARED / "goldens"))
DATA = Path(os.environ.get("FLAB_DATA", SHARED / "data"))
CASES = Path(os.environ.get("FLAB_CASES", SHARED / "tasks" / "cases"))
