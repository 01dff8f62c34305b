"""The model families, one file each, found by being in this folder. Needs no torch."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache

from flamingo_lab.errors import BadConfig
from flamingo_lab.family import Family, Folder, Size


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


def listing(size: Size) -> Family:
    """The family that lists this model."""
    return next(family for family, one in sizes() if one is size)


def of(folder: Folder) -> Family:
    """The one family whose files these are."""
    matching = [family for family in all_families() if family.matches(folder)]
    if len(matching) != 1:
        found = " and ".join(family.name for family in matching) or "none"
        known = ", ".join(family.name for family in all_families())
        kind = f"model_type {folder.config.get('model_type')!r}" if folder.config else "a folder without config.json"
        raise BadConfig(f"{folder.path / 'config.json'}: {kind} belongs to {found} of the families ({known})")
    return matching[0]
