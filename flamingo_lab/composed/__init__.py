"""Models made of several listed ones, one file each, found by being in this folder. Needs no torch."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from flamingo_lab import families
from flamingo_lab.errors import BadSetting, MissingModel
from flamingo_lab.family import Folder, Size, flag

if TYPE_CHECKING:
    from flamingo_lab.prepared import Seats
    from flamingo_lab.search.vstar import VStar


@dataclass(frozen=True)
class Composed:
    """A model made of others. `models`: the listed model in each role; `build` gets its name and the models by role."""

    name: str
    title: str
    paper: str
    models: Mapping[str, str]
    build: Callable[[str, Seats], VStar]

    @property
    def sizes(self) -> tuple[Size, ...]:
        """The listed models that it is made of."""
        return tuple(size for _, size in families.sizes() if size.name in self.models.values())

    @property
    def parameters(self) -> int:
        """Of all its models together."""
        return sum(size.parameters for size in self.sizes)

    def parts(self, given: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
        """By role, the given folders of the parts that its model takes; one without a role before its name is for all.

        Raises `BadSetting` for a folder that no model takes.
        """
        used = set(self.models)
        parts: dict[str, dict[str, Path]] = {}
        for role, listed in self.models.items():
            (size,) = (size for size in self.sizes if size.name == listed)
            wanted = families.listing(size).parts(Folder.listed(size))
            names = {name: part for part in wanted for name in (part, f"{role}_{part}")}
            parts[role] = {part: given[name] for name, part in names.items() if name in given}
            used |= names.keys()
        for name in given.keys() - used:
            raise BadSetting(
                f"{flag(name)}: none of the models that {self.name} is made of has such a part; leave it away"
            )
        return parts


@cache
def all_composed() -> tuple[Composed, ...]:
    """Every composed model, in the order of their names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}").COMPOSED for name in names)


@contextmanager
def as_part(role: str) -> Generator[None]:
    """Says by which option a model's files are named where it is one of several."""
    try:
        yield
    except (MissingModel, BadSetting) as error:
        raise type(error)(str(error).replace("--weights DIR", flag(role))) from None


def find(name: str | None, given: Collection[str]) -> Composed | None:
    """The composed model of this name; without a name, the one whose models' folders are given. None: no composed one."""
    if name is not None:
        return next((one for one in all_composed() if one.name == name.lower()), None)
    found = next((one for one in all_composed() if one.models.keys() <= set(given)), None)
    if found is None:
        wanted = " or ".join(", ".join(one.models) for one in all_composed())
        raise BadSetting(
            f"nothing says which model: give its name or folder, or the folders {wanted} of a composed one"
        )
    return found
