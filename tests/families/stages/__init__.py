"""How the stored stages of goldens are computed: one file a mechanism, found by being in this folder.

A stage is a function of (model, case, row, match) under a regular expression for its whole name; it gives an array, or a
plain value that has to be equal. `match` holds the name's numbers. What is stored as a part of another stage is taken out
of that one (`PARTS`). A file may say what an option of a case does to the model, by its name in `OPTIONS`.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

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


def acting() -> set[str]:
    """The options that act on a loaded model."""
    modules = [importlib.import_module(f"{__name__}.{one.name}") for one in pkgutil.iter_modules(__path__)]
    return {name for module in modules for name in getattr(module, "OPTIONS", {})}


def adapted(model: fl.LoadedModel, case: Case) -> fl.LoadedModel:
    """The model under the case's options that act on a loaded one."""
    for module in pkgutil.iter_modules(__path__):
        options: dict[str, Option] = getattr(importlib.import_module(f"{__name__}.{module.name}"), "OPTIONS", {})
        for name in options.keys() & case.options.keys():
            model = options[name](model, case)
    return model


def compute(name: str, model: fl.LoadedModel, case: Case, row: Row) -> Any:
    """The stage of this name. A name that no file knows, also not as a part of another stage, is a failure."""
    for pattern, stage in all_stages().items():
        if match := re.fullmatch(pattern, name):
            return stage(model, case, row, match)
    for pattern, part in PARTS.items():
        if match := re.fullmatch(pattern, name):
            return part(np.asarray(compute(match["whole"], model, case, row)), row.expect[name], match)
    raise AssertionError(f"a stored stage that no test knows: {name}")


PARTS: dict[str, Callable[[np.ndarray, Any, re.Match[str]], np.ndarray]] = {
    r"(?P<whole>.+)_every_(?P<step>\d+)(st|nd|rd|th)": lambda whole, part, match: whole[..., :: int(match["step"]), :],
    r"(?P<whole>.+)_tail": lambda whole, part, match: whole[-len(part) :],
    r"(?P<whole>.+)_last": lambda whole, part, match: whole[-1],
    r"last_(?P<whole>.+)": lambda whole, part, match: whole[-1],
    r"(?P<whole>.+)_argmax": lambda whole, part, match: whole.argmax(-1),
}
"""By the pattern of the part's name: what it is of the whole, by the part that is stored and the name's match."""
