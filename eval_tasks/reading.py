"""A file's text as what it holds: JSON, JSON lines, CSV, TSV or plain lines, by its ending. Nothing is evaluated."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from eval_tasks.errors import TaskError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
LONGEST_CELL = 2**27
"""Python's own limit of 131,072 letters is less than models have been seen to write."""

LONGEST_SHOWN = 60
"""Letters of a value in a message."""


@dataclass(frozen=True)
class Content:
    """A file and what it holds; what cannot be read is an `error`."""

    path: Path
    error: type[TaskError]

    @cached_property
    def held(self) -> Any:
        """The JSON value; for lines a list of values, for tables a list of rows by column, for text a list of lines."""
        text, ending = self.text, self.path.suffix.lower()
        try:
            if ending in DELIMITERS:
                return _table(text, DELIMITERS[ending])
            if ending == ".txt":
                return text.removesuffix("\n").split("\n")
            return _json(text) if ending == ".json" else _lines(text)
        except (ValueError, RecursionError, csv.Error) as error:
            raise self.error(f"{self.path}: not readable as {ending or 'JSON lines'} ({error})") from None

    @cached_property
    def text(self) -> str:
        """The file as text, with or without a byte order mark."""
        try:
            return self.path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self.error(f"{self.path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
        except OSError as error:
            raise self.error(f"{self.path}: cannot be read ({error.strerror})") from None

    @property
    def rows(self) -> list[dict[str, Any]] | None:
        """The rows, where the file is nothing but rows."""
        held = self.held
        return held if isinstance(held, list) and held and all(isinstance(row, dict) for row in held) else None

    @property
    def object(self) -> dict[str, Any] | None:
        """The object, where the file is a single one."""
        return self.held if isinstance(self.held, dict) else None

    def where(self, number: int) -> str:
        """A row in words, counted from 0."""
        return f"{self.path}, row {number}"


def contents(paths: Sequence[Path], error: type[TaskError]) -> list[Content]:
    """The files, those of folders in the order of their names."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
            if not inside:
                raise error(f"{path}: the folder holds no files")
            files += inside
        elif path.exists():
            files.append(path)
        else:
            raise error(f"{path}: not readable, there is no such file")
    return [Content(file, error) for file in files]


def _json(text: str) -> Any:
    """A JSON value, or JSON lines: POPE's files, for example, are lines behind the ending .json."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        return _lines(text)


def _lines(text: str) -> list[Any]:
    # Not splitlines(): a JSON text may hold other ends of lines than \n.
    lines = ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())
    return [_line(number, line) for number, line in lines]


def _line(number: int, line: str) -> Any:
    try:
        return json.loads(line, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {number}: {error.msg}") from None


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """An object; JSON's own reader would keep the last of two equal keys and say nothing."""
    held: dict[str, Any] = {}
    for key, value in pairs:
        if key in held:
            raise ValueError(f"the key {shortened(key)} occurs twice in an object")
        held[key] = value
    return held


def _table(text: str, delimiter: str) -> list[dict[str, Any]]:
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        rows = list(reader)
    finally:
        csv.field_size_limit(before)
    columns = list(reader.fieldnames or ())
    if twice := [name for place, name in enumerate(columns) if name in columns[:place]]:
        raise ValueError(f"the column {shortened(twice[0])} occurs twice")
    for number, row in enumerate(rows):
        if None in row or None in row.values():
            raise ValueError(
                f"row {number} has {'more' if None in row else 'fewer'} cells than the {len(columns)} columns"
            )
    return rows


def shortened(held: object) -> str:
    """What a message shows of a value, which may be a megabyte."""
    said = repr(held)
    return said if len(said) <= LONGEST_SHOWN else f"{said[: LONGEST_SHOWN - 3]}..."
