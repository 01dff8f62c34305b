"""The metrics, one file each, found by being in this folder and by the variants that each one names."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from eval_tasks.errors import UnknownTask


@dataclass(frozen=True)
class Prediction:
    """What a model answered. A type of its own, so that it cannot change places with the targets."""

    text: str


@dataclass(frozen=True)
class Targets:
    """The right answers, as they stand in the benchmark's files."""

    texts: tuple[str, ...]


Scorer = Callable[[Prediction, Targets], float]


def names() -> list[str]:
    """The names of all metrics."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def variants(metric: str) -> Mapping[str, Scorer]:
    """A metric's variants by name, the official one first."""
    if metric not in names():
        near = difflib.get_close_matches(metric, names(), n=3) or names()
        raise UnknownTask(f"unknown metric {metric!r}: did you mean {' or '.join(near)}?")
    return importlib.import_module(f"{__name__}.{metric}").VARIANTS


def scorer(metric: str, variant: str) -> Scorer:
    """The function that scores one answer. Raises `UnknownTask` with the nearest names."""
    there = variants(metric)
    if variant not in there:
        raise UnknownTask(f"metric {metric} has no variant {variant!r}; there are {', '.join(there)}")
    return there[variant]
