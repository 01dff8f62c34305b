"""What every process that runs tests does."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _heap() -> Iterator[None]:
    """Let all of it go in the end, as packages that count their objects expect."""
    yield
    gc.unfreeze()


@pytest.fixture(scope="module", autouse=True)
def _held_by_modules_before(_heap: None) -> None:
    """Leave out of garbage collection what was there before: Streamlit and statsmodels walk over the heap at each call."""
    gc.collect()
    gc.freeze()
