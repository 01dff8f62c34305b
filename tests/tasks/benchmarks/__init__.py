"""Tiny benchmarks in each layout of their files, made on the spot: one builder a task and layout."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

FILES, HUB = "files", "hub"


@dataclass(frozen=True)
class Tiny:
    """What a builder wrote: the ids of a split's questions, and of the first one whatever the layout decides.

    `right`: the answers that get the full score, where they are not the first targets. `shots`: the split for shots is here.
    """

    split: str
    ids: Sequence[str]
    document: str | None = None
    slices: Mapping[str, str] = field(default_factory=dict[str, str])
    right: Sequence[str] = ()
    shots: bool = False
    options: tuple[str, ...] = ()


Builder = Callable[[Path], Tiny]

BUILDERS: dict[tuple[str, str], Builder] = {}


def builds(task: str, layout: str) -> Callable[[Builder], Builder]:
    """Registers a builder."""

    def register(builder: Builder) -> Builder:
        BUILDERS[task, layout] = builder
        return builder

    return register


def png(number: int) -> bytes:
    """A picture of one colour, another one for each number."""
    stream = io.BytesIO()
    Image.new("RGB", (20 + number, 12), (37 * number % 256, 91, 13 * number % 256)).save(stream, "PNG")
    return stream.getvalue()


def picture(file: Path, number: int) -> None:
    """A picture in a file, whatever its ending says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(png(number))


def stored(number: int, name: str | None = None) -> dict[str, Any]:
    """A picture as the hub keeps it in a row."""
    return {"bytes": png(number), "path": name}


def write(file: Path, held: Any) -> None:
    """JSON, or JSON lines behind the ending .jsonl."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = file.suffix == ".jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in held) if lines else json.dumps(held), encoding="utf-8")


def parquet(file: Path, rows: Sequence[Mapping[str, Any]], rows_a_group: int = 2) -> None:
    """Rows as on the hub, in small groups."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), file, row_group_size=rows_a_group)
