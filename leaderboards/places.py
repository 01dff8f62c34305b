"""Where a store's finished runs are read: a local folder here; object storage is in `remote.py`."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from leaderboards.errors import BadStore
from leaderboards.journal import JOURNAL, lines
from leaderboards.lock import LOCK, is_held

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

RECORD, SAMPLES = "run.json", "samples.parquet"

MARK = b"PAR1"
"""What a Parquet file begins and ends with."""

SHORTEST = 12
"""Bytes of the marks and the footer's length."""

Stamp = tuple[float, int]
"""When a file was last written and how long it is: other content has another stamp."""


class Place(Protocol):
    """What a store needs of the place where its runs lie."""

    name: str

    def problem(self) -> str | None:
        """Why this cannot be where results lie, None where it can."""
        ...

    def records(self) -> Mapping[str, Stamp]:
        """The ids of the runs that have a record, with their records' stamps."""
        ...

    def text(self, run_id: str) -> str:
        """A run's record."""
        ...

    def samples(self, run_id: str) -> str:
        """The address of a run's samples for DuckDB. Raises `FileNotFoundError` without them, `BadStore` for a cut file."""
        ...

    def seen(self, run_id: str) -> Stamp:
        """The stamp that a run's samples had when `samples` last looked."""
        ...

    def progress(self, run_id: str) -> tuple[bool, int]:
        """Of a run that is not finished: whether a process is at it, and how many answers it has."""
        ...

    def condemn(self, address: str) -> None:
        """Remember that samples could not be read to their end, until they are other ones."""
        ...

    def connect(self) -> DuckDBPyConnection:
        """A connection that can read such addresses; each thread may have its own."""
        ...


class LocalPlace:
    """A folder: PATH/runs/RUN_ID/{run.json, samples.parquet}. It need not exist."""

    def __init__(self, path: Path) -> None:
        if path.parts and path.parts[0].endswith(":"):  # what a path makes of s3://BUCKET
            raise BadStore(f"{path}: runs are made in a folder; flab results merge DIR --results URL publishes them")
        for folder in (path, path / "runs"):
            try:
                is_file = folder.exists() and not folder.is_dir()
            except OSError as error:
                raise BadStore(
                    f"{folder}: cannot be read ({error.strerror}); choose another --results folder"
                ) from None
            if is_file:
                raise BadStore(f"{folder}: a file stands where a folder should be; choose another --results folder")
        self.path = path
        self.name = str(path)
        self._sound: dict[str, Stamp] = {}
        self._damaged: dict[str, Stamp] = {}
        self._lock = threading.Lock()
        self._database: DuckDBPyConnection | None = None

    def problem(self) -> str | None:
        """That it may not be read, or that there are other files and no folder of runs."""
        try:
            names = {file.name for file in self.path.iterdir()}
        except FileNotFoundError:
            return None
        except OSError as error:
            return f"{self.path}: cannot be read ({error.strerror}); choose another --results folder"
        if "runs" in names or all(name.startswith(".") for name in names):
            return None
        return f"{self.path}: no results folder: there are other files in it, and no folder named runs"

    def records(self) -> Mapping[str, Stamp]:
        """The runs by folder. Raises `BadStore` where the folder may not be read."""
        try:
            with os.scandir(self.path / "runs") as folders:
                names = [folder.name for folder in folders if not folder.name.startswith(".")]
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise BadStore(f"{self.path}: cannot be read ({error.strerror}); choose another --results folder") from None
        found: dict[str, Stamp] = {}
        runs = str(self.path / "runs")
        for name in sorted(names):
            try:
                held = os.stat(f"{runs}/{name}/{RECORD}")  # noqa: PTH116 - `Path` takes thrice as long, for each of hundreds of runs
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError:
                held = None  # named when it is read
            found[name] = (held.st_mtime, held.st_size) if held else (0.0, 0)
        return found

    def text(self, run_id: str) -> str:
        """The record's file."""
        return (self.path / "runs" / run_id / RECORD).read_text(encoding="utf-8")

    def samples(self, run_id: str) -> str:
        """The file, after a look at its ends; once looked at, it is taken as sound until it changes."""
        file = self.path / "runs" / run_id / SAMPLES
        held = file.stat()
        stamp = held.st_mtime, held.st_size
        if self._damaged.get(str(file)) == stamp:
            raise BadStore(f"{file}: damaged, not readable to its end; copy it again, or move its folder away")
        if self._sound.get(run_id) != stamp:
            with file.open("rb") as stream:
                check_ends(str(file), held.st_size, stream.read(len(MARK)), lambda: _end(file))
            self._sound[run_id] = stamp
        return str(file)

    def seen(self, run_id: str) -> Stamp:
        """As it was looked at."""
        return self._sound[run_id]

    def progress(self, run_id: str) -> tuple[bool, int]:
        """By the run's lock and journal."""
        folder = self.path / "runs" / run_id
        return is_held(folder / LOCK), lines(folder / JOURNAL)

    def condemn(self, address: str) -> None:
        """Left out from now on."""
        held = Path(address).stat()
        self._damaged[address] = held.st_mtime, held.st_size

    def connect(self) -> DuckDBPyConnection:
        """A connection of its own to one database in memory, so that threads need not wait for each other."""
        import duckdb

        with self._lock:
            if self._database is None:
                self._database = duckdb.connect()
            return self._database.cursor()


def check_ends(name: str, size: int, first: bytes, last: Callable[[], bytes]) -> None:
    """Refuse a Parquet file that is cut: its marks at both ends, and a footer that fits between them."""
    end = last() if size >= SHORTEST and first == MARK else b""
    if end[-4:] != MARK or int.from_bytes(end[:4], "little") > size - SHORTEST:
        raise BadStore(f"{name}: cut or damaged ({size:,} bytes); copy it again, or move its folder away")


def _end(file: Path) -> bytes:
    with file.open("rb") as stream:
        stream.seek(-8, os.SEEK_END)
        return stream.read()
