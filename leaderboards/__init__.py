"""Results: records of runs and their samples, kept as files, read with SQL, with honest intervals. No torch, no model code."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leaderboards.errors import ResultsError as ResultsError
    from leaderboards.records import Run as Run
    from leaderboards.records import SampleRecord as SampleRecord
    from leaderboards.records import Score as Score
    from leaderboards.store import Store as Store
    from leaderboards.store import open as open

_HOMES = {
    "ResultsError": "errors",
    **dict.fromkeys(("Store", "open"), "store"),
    **dict.fromkeys(("Run", "SampleRecord", "Score"), "records"),
}
"""Where each public name lives, read on first use."""

__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll] - the names come from __getattr__


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
