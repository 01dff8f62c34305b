"""The model families, one file each, found by being in this folder. Needs no torch."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from flamingo_lab.config import Family, Size
from flamingo_lab.errors import BadConfig


@cache
def all_families() -> tuple[Family, ...]:
    """Every family, in the order of their names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}").FAMILY for name in names)


def sizes() -> Iterator[tuple[Family, Size]]:
    """Every listed model with its family."""
    for family in all_families():
        for size in family.sizes:
            yield family, size


def of(config: Mapping[str, Any], folder: Path) -> Family:
    """The one family whose `config.json` this is."""
    matching = [family for family in all_families() if family.matches(config)]
    if len(matching) != 1:
        found = ", ".join(family.name for family in matching) or "none"
        known = ", ".join(family.name for family in all_families())
        raise BadConfig(
            f"{folder / 'config.json'}: model_type {config.get('model_type')!r} belongs to {found} of the families ({known})"
        )
    return matching[0]
