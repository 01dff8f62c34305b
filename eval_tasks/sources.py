"""From a benchmark's original files to rows, and from a row's fields to what a sample is made of."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from eval_tasks.errors import BadRow, MissingData
from eval_tasks.reading import Content
from eval_tasks.wording import LETTERS
from flamingo_lab.prompt import Image

Row = Mapping[str, Any]

EMPTY = {"", "nan", "none"}
"""What an absent cell of a table may read as."""


def json_rows(file: Path) -> list[Row]:
    """The objects of a JSON list, of JSON lines, or of a table with a heading."""
    held = held_in(file)
    if not isinstance(held, list) or not all(isinstance(row, dict) for row in held):
        raise BadRow(f"{file}: a list of objects is expected")
    return held


def json_object(file: Path) -> dict[str, Any]:
    """The object that a JSON file is."""
    held = held_in(file)
    if not isinstance(held, dict):
        raise BadRow(f"{file}: an object is expected")
    return held


def held_in(file: Path) -> Any:
    """What a file holds, by its ending. Raises `MissingData` where it cannot be read."""
    return Content(file, MissingData).held


def rows_in(row: Row, key: str, where: str) -> list[Row]:
    """A field that has to be a list of objects."""
    held = row.get(key)
    if not isinstance(held, list) or not all(isinstance(one, dict) for one in held):
        raise _wrong(row, key, where, "a list of objects")
    return held


def text(row: Row, key: str, where: str) -> str:
    """A field that has to be text."""
    value = row.get(key)
    if not isinstance(value, str):
        raise _wrong(row, key, where, "text")
    return value


def label(row: Row, key: str, where: str) -> str:
    """A field that has to be text or a whole number, as text: ids are now one, now the other."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _wrong(row, key, where, "text or a whole number")
    return str(value)


def number(row: Row, key: str, where: str) -> int:
    """A field that has to be a whole number, as a number or as text."""
    value = label(row, key, where)
    if not value.lstrip("-").isdecimal():
        raise _wrong(row, key, where, "a whole number")
    return int(value)


def letter(row: Row, key: str, where: str) -> str:
    """A field that has to be the number of an option, as that option's letter."""
    value = number(row, key, where)
    if not 0 <= value < len(LETTERS):
        raise _wrong(row, key, where, "the number of an option")
    return LETTERS[value]


def texts(row: Row, key: str, where: str, within: str = "answer") -> tuple[str, ...]:
    """A field that has to be a list of texts, or of objects with a text `within`."""
    held = row.get(key)
    listed: list[Any] = held if isinstance(held, list) else []
    found: list[Any] = [one.get(within) if isinstance(one, dict) else one for one in listed]
    if not found or not all(isinstance(one, str) for one in found):
        raise _wrong(row, key, where, "a list of texts")
    return tuple(found)


def cell(row: Row, key: str) -> str:
    """A cell of a table, empty where it is absent: tables also write `nan` and `none` there."""
    value = row.get(key)
    said = "" if value is None else str(value)
    return "" if said.strip().lower() in EMPTY else said


NOT_THE_LAYOUT = "the file is not in the benchmark's layout"


@cache
def image(file: Path, name: str) -> Image:
    """One picture a file, however many questions show it, so that it is read and hashed once."""
    return Image(file, name=name)


def picture(root: Path, name: str, where: str) -> Image:
    """A picture that the data names by its place in a folder."""
    return image(inside(root, name, where), name)


def inside(root: Path, name: str, where: str) -> Path:
    """A file named by the data, which may not lead out of `root`. Links in the folder are its owner's, and are followed."""
    way = os.path.normpath(name)
    if way.split(os.sep, 1)[0] in ("", ".."):
        raise BadRow(f"{where}: {name!r} leads out of {root}")
    return root / way


def need(root: Path, *names: str, origin: str) -> Path:
    """The first of the files or folders that is there. Raises `MissingData` that says where they come from."""
    for name in names:
        if (root / name).exists():
            return root / name
    raise MissingData(f"{root}: no {' or '.join(names)} in it; it belongs to {origin}")


def seek(root: Path, *names: str) -> Path | None:
    """The first of the files or folders that is there, None where none is."""
    return next((root / name for name in names if (root / name).exists()), None)


def tags(names: Iterable[str]) -> dict[str, str]:
    """Slices of a question that belongs to several groups at once."""
    return dict.fromkeys(names, "yes")


def tags_in(row: Row, key: str) -> dict[str, str]:
    """Slices of a question that belongs to all groups of a list, none where the data has no list."""
    held = row.get(key)
    return tags(map(str, held)) if isinstance(held, list) else {}


def kinds_in(row: Row, *keys: str) -> dict[str, str]:
    """Slices by fields of text, without those that are absent or empty."""
    return {key: said for key in keys if (said := cell(row, key))}


def size_slice(width: object, height: object) -> dict[str, str]:
    """The slice of a picture's size, none where the data does not tell it."""
    if not isinstance(width, int) or not isinstance(height, int):
        return {}
    megapixels = width * height / 1e6
    bounds = {"below 0.3 MP": 0.3, "0.3 to 1 MP": 1.0}
    return {"picture size": next((name for name, bound in bounds.items() if megapixels < bound), "1 MP and more")}


def _wrong(row: Row, key: str, where: str, expected: str) -> BadRow:
    if key not in row:
        return BadRow(f"{where}: the field {key!r} is missing; {NOT_THE_LAYOUT}")
    said = repr(row[key])
    return BadRow(
        f"{where}: the field {key!r} is {said if len(said) <= 60 else said[:57] + '...'}, not {expected}; {NOT_THE_LAYOUT}"
    )
