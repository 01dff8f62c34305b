"""How files of predictions are laid out, one layout a file, found by being in this folder.

A layout recognises its files by what they hold, never by their names. `plain` takes what no other layout knows.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval_tasks.errors import BadPredictions
from eval_tasks.predictions import Given, Read
from eval_tasks.reading import contents
from eval_tasks.task import Task


@dataclass(frozen=True)
class Layout:
    """`form` says in words what the files hold; `read` may count on what `recognises` has seen.

    `is_general`: asked only where no other layout recognises the files.
    """

    form: str
    recognises: Callable[[Given], bool]
    read: Callable[[Given], Read]
    is_general: bool = False


def all_layouts() -> dict[str, Layout]:
    """The layouts by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name.replace("_", "-"): importlib.import_module(f"{__name__}.{name}").LAYOUT for name in names}


def read(
    task: Task,
    predictions: Sequence[Path],
    annotations: Sequence[Path] = (),
    data: Path | None = None,
    allow_missing: bool = False,
    split: str | None = None,
) -> Read:
    """The answers of the files with what they are scored against. Raises `BadPredictions` with one clear line."""
    given = Given(
        task, contents(predictions, BadPredictions), contents(annotations, BadPredictions), data, allow_missing, split
    )
    return find(given)[1].read(given)


def find(given: Given) -> tuple[str, Layout]:
    """The name of the files' layout, and the layout."""
    for content in given.predictions:
        if not content.text.strip() or not content.held:
            raise BadPredictions(f"{content.path}: no predictions in it")
    layouts, first = all_layouts(), given.predictions[0].path
    for is_general in (False, True):
        of_kind = {name: layout for name, layout in layouts.items() if layout.is_general == is_general}
        found = [name for name, layout in of_kind.items() if layout.recognises(given)]
        if len(found) > 1:
            raise BadPredictions(f"{first}: it could be {' or '.join(found)}; give the annotations of one of them")
        if found:
            return found[0], layouts[found[0]]
    raise BadPredictions(
        f"{first}: in none of the known layouts (flab list layouts); a list of objects with id and prediction always is"
    )
