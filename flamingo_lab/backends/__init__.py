"""Other ways to be a `Model` than the core: one file each, found by being in this folder. Needs no torch.

A backend is known by the prefix of a model's name: `hf:REPO` and `openai:NAME`.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from flamingo_lab.asking import Askable
from flamingo_lab.errors import BadSetting


@dataclass(frozen=True)
class Backend:
    """`open` makes a model of what follows the prefix. Its keyword parameters are the settings that the backend knows."""

    prefix: str
    title: str
    open: Callable[..., Askable]

    @property
    def knows(self) -> tuple[str, ...]:
        """The settings that it takes, as they are called in `load`."""
        parameters = inspect.signature(self.open).parameters.values()
        return tuple(one.name for one in parameters if one.kind is inspect.Parameter.KEYWORD_ONLY)

    def load(self, name: str, told: Mapping[str, Any]) -> Askable:
        """The model of this whole name. Raises `BadSetting` for a setting that the backend does not know."""
        for setting in told:
            if setting not in self.knows:
                there = ", ".join(map(_shown, self.knows))
                raise BadSetting(f"{name} takes no {_shown(setting)}; it takes {there}: leave it away")
        rest = name.removeprefix(f"{self.prefix}:")
        if not rest:
            raise BadSetting(f"{name} names no model; write {self.prefix}:NAME")
        return self.open(rest, **told)


@cache
def all_backends() -> tuple[Backend, ...]:
    """Every backend, in the order of their files' names."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return tuple(importlib.import_module(f"{__name__}.{name}").BACKEND for name in names)


def find(name: str) -> Backend | None:
    """The backend whose prefix the name has, None for a model of the core's."""
    prefix, colon, _ = name.partition(":")
    return next((one for one in all_backends() if colon and one.prefix == prefix), None)


def _shown(setting: str) -> str:
    """A setting as the command line calls it, where `wording` is what a task is put in."""
    return "--template" if setting == "wording" else f"--{setting.replace('_', '-')}"
