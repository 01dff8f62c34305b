"""Data sets as on the Hugging Face hub: Parquet files in a folder or in the hub's cache. Only `fetch` downloads.

Rows are read a group at a time without their pictures, and a picture when it is looked at, so that a data set larger than
the memory can be asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from eval_tasks.errors import BadRow, MissingData
from eval_tasks.sources import NOT_THE_LAYOUT, Row
from flamingo_lab.prompt import Image

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from eval_tasks.task import Hub

GROUPS_KEPT = 2
"""Groups of rows whose pictures stay in memory: questions are asked in order, so the next one's is likely in the same."""

PART = re.compile(r"(.+)-\d+-of-(\d+)(?:-[0-9a-f]+)?\.parquet")
"""The name of one of several files of a split."""

BYTES = ".bytes"
"""The end of a column's path in which the hub keeps encoded pictures."""


def folder(hub: Hub) -> Path | None:
    """The data set's folder in the hub's cache, None where it is not there. It need not be whole: `files` sees to that."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                hub.repository, repo_type="dataset", revision=hub.revision, local_files_only=True, allow_patterns=[]
            )
        )
    except (LocalEntryNotFoundError, OSError):
        return None


def fetch(hub: Hub, splits: Iterable[str]) -> None:
    """Fetch the splits' files into the hub's cache, at the pinned revision. Raises `MissingData` with the reason."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = [pattern for split in splits for pattern in needed(hub, split)]
    try:
        snapshot_download(hub.repository, repo_type="dataset", revision=hub.revision, allow_patterns=patterns)
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise MissingData(
            f"{hub.repository}: could not be downloaded ({str(error).splitlines()[0]}); point --data to a folder with it"
        ) from None


def needed(hub: Hub, split: str) -> list[str]:
    """Patterns of the files of a split and of what its questions need besides, wherever in the data set they lie."""
    if hub.files:
        return list(hub.files)
    return [
        f"{above}{folder}{pattern}"
        for folder in [f"{name}/" for name in hub.folders(split)] or [""]
        for pattern in _patterns(hub.called(split))
        for above in ("", "*/")
    ]


def _patterns(split: str) -> list[str]:
    return [f"{split}-*.parquet", f"{split}.parquet", f"{split}/*.parquet"]


def files(root: Path, split: str, config: str | None = None) -> list[Path]:
    """A split's files in a folder laid out as on the hub, whichever of its layouts that is.

    Raises `MissingData` where some of them are there and others are not.
    """
    # `main` and `default` are the configurations of data sets that name none.
    names = (config,) if config else ("default", "main")
    for place in (*(root / name for name in names), *(root / "data" / name for name in names), root / "data", root):
        for pattern in _patterns(split):
            if found := sorted(place.glob(pattern)):
                return _whole(found)
    return []


def _whole(found: list[Path]) -> list[Path]:
    """The files, whose names say how many of them there have to be."""
    parts = [(match[1], match[2]) for file in found if (match := PART.fullmatch(file.name))]
    for name, of in sorted(set(parts)):
        there = sum(part == (name, of) for part in parts)
        if there < int(of) or len(found) > int(of):
            raise MissingData(
                f"{found[0].parent}: {there} of the {int(of)} files {name}-*-of-{of}.parquet are here"
                + (f", and {len(found) - there} others of the split" if len(found) > there else "")
                + "; a part of a split, or two revisions of it, would have another score"
            )
    return found


def rows(paths: list[Path]) -> Iterator[Row]:
    """The rows of Parquet files. A field that holds a picture, or a list of them, holds an `Image`, or a list of them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in paths:
        try:
            with pq.ParquetFile(path) as opened:
                columns, pictures = _columns(opened)
                for group in range(opened.num_row_groups):
                    held = opened.read_row_group(group, columns=columns).to_pylist()
                    for number, row in enumerate(held):
                        yield row | {name: _late(row.get(name, {}), path, group, number, name) for name in pictures}
        except (pa.ArrowException, OSError) as error:
            raise MissingData(f"{path}: not readable as Parquet ({error})") from None


def picture(row: Row, key: str, where: str) -> Image:
    """A field that has to be a picture."""
    value = row.get(key)
    if not isinstance(value, Image):
        raise BadRow(f"{where}: the field {key!r} holds no picture; {NOT_THE_LAYOUT}")
    return value


def _columns(opened: pq.ParquetFile) -> tuple[list[str], set[str]]:
    """All columns but the pictures' bytes, and the names of the fields that hold pictures."""
    paths = [opened.schema.column(number).path for number in range(len(opened.schema))]
    return [path for path in paths if not path.endswith(BYTES)], {
        path.split(".")[0] for path in paths if path.endswith(BYTES)
    }


def _late(held: Any, path: Path, group: int, number: int, column: str) -> Any:
    """What is read later, in the shape of what was read now: a picture, a list of pictures, or nothing."""

    def image(place: int | None, one: Any) -> Image | None:
        if one is None:
            return None
        name = one.get("path") or f"{path.stem}-{group}-{number}" + ("" if place is None else f"-{place}")
        return Image(partial(_bytes, path, group, number, column, place), name=str(name))

    if isinstance(held, list):
        return [image(place, one) for place, one in enumerate(held)]
    return image(None, held)


def _bytes(path: Path, group: int, number: int, column: str, place: int | None) -> bytes:
    with _reading:
        held = _group(path, group, column)[number]
    held = held.as_py()
    return (held if place is None else held[place])["bytes"]


_reading = Lock()
"""Threads that want pictures of one group wait for the first one to have read it."""


@lru_cache(maxsize=GROUPS_KEPT)
def _group(path: Path, group: int, column: str) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as opened:
        return opened.read_row_group(group, columns=[column]).column(column)
