"""How the stored stages of goldens are computed: one file a mechanism, found by being in this folder.

A stage is a function of (model, case, row, match) under a regular expression for its whole name; it gives an array, or a
plain value that has to be equal. `match` holds the name's numbers. A file may say what an option of a case does to the
model, by its name in `OPTIONS`.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import flamingo_lab as fl
from tests.families.goldens import Case, Row

Stage = Callable[[fl.LoadedModel, Case, Row, re.Match[str]], Any]
Option = Callable[[fl.LoadedModel, Case], fl.LoadedModel]


@cache
def all_stages() -> dict[str, Stage]:
    """Every stage by the pattern of its name."""
    stages: dict[str, Stage] = {}
    for module in pkgutil.iter_modules(__path__):
        own: dict[str, Stage] = importlib.import_module(f"{__name__}.{module.name}").STAGES
        assert not own.keys() & stages.keys(), f"two files compute {own.keys() & stages.keys()}"
        stages |= own
    return stages


def adapted(model: fl.LoadedModel, case: Case) -> fl.LoadedModel:
    """The model under the case's options that act on a loaded one."""
    for module in pkgutil.iter_modules(__path__):
        options: dict[str, Option] = getattr(importlib.import_module(f"{__name__}.{module.name}"), "OPTIONS", {})
        for name in options.keys() & case.options.keys():
            model = options[name](model, case)
    return model


def compute(name: str, model: fl.LoadedModel, case: Case, row: Row) -> Any:
    """The stage of this name. A name that no file knows is a failure."""
    for pattern, stage in all_stages().items():
        if match := re.fullmatch(pattern, name):
            return stage(model, case, row, match)
    raise AssertionError(f"a stored stage that no test knows: {name}")
