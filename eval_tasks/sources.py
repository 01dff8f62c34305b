"""From a benchmark's files to rows: original folders, and Parquet as on the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from eval_tasks.errors import BadRow, MissingData
from flamingo_lab.prompt import Image

Row = Mapping[str, Any]


def json_rows(file: Path) -> list[Row]:
    """The objects of a JSON list."""
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MissingData(f"{file}: not readable as JSON ({error})") from None
    if not isinstance(held, list) or not all(isinstance(row, dict) for row in held):
        raise BadRow(f"{file}: a list of objects is expected")
    return held


def text(row: Row, key: str, where: str) -> str:
    """A field that has to be text."""
    value = row.get(key)
    if not isinstance(value, str):
        found = "is missing" if key not in row else f"is {value!r}, not text"
        raise BadRow(f"{where}: the field {key!r} {found}; the file is not in the benchmark's layout")
    return value


@cache
def image(file: Path, name: str) -> Image:
    """One picture a file, however many questions show it, so that it is read and hashed once."""
    return Image(file, name=name)


def inside(root: Path, name: str, where: str) -> Path:
    """A file named by the data, which may not lead out of `root`."""
    file = root / name
    if not file.resolve().is_relative_to(root.resolve()):
        raise BadRow(f"{where}: {name!r} leads out of {root}")
    return file


def parquet_files(root: Path, split: str) -> list[Path]:
    """A split's files in a folder laid out as on the hub: `data/SPLIT-00000-of-00001.parquet`, with or without `data/`."""
    return sorted(
        [*root.glob(f"{split}-*.parquet"), *root.glob(f"data/{split}-*.parquet"), *root.glob(f"{split}.parquet")]
    )


def parquet_rows(files: list[Path]) -> Iterator[Row]:
    """Rows of Parquet files, one at a time."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in files:
        try:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=64):
                yield from batch.to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise MissingData(f"{file}: not readable as Parquet ({error})") from None


def hub_folder(repository: str) -> Path | None:
    """A data set's folder in the hub's cache, None where it is not there. Nothing is downloaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, repo_type="dataset", local_files_only=True))
    except (LocalEntryNotFoundError, OSError):
        return None
