"""From an older schema's record of a run to today's: one numbered function for each step, applied in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Record = dict[str, Any]


def _to_2(record: Record) -> Record:
    """Version 2 says which slices' mean the whole is, when the answers were marked anew, and which decoding was asked for."""
    settings = {"chosen_decoding": None} | record["settings"]
    return {"mean_of": [], "rescored": None} | record | {"settings": settings}


def _to_3(record: Record) -> Record:
    """Version 3 changes the samples alone: they hold what each adds to figures that are no means."""
    return record


def _to_4(record: Record) -> Record:
    """Version 4 says of each score which kind of interval it has, of which older records tell nothing."""
    return record | {"scores": [{"interval": None} | score for score in record["scores"]]}


STEPS: Mapping[int, Callable[[Record], Record]] = {1: _to_2, 2: _to_3, 3: _to_4}
"""The step from each version to the next."""


def migrated(record: Record, version: int) -> Record:
    """The record in today's version, which is the one that no step leads from."""
    while version in STEPS:
        record = STEPS[version](record)
        version += 1
    return record | {"schema_version": version}
