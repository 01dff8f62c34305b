"""Results on object storage, or at any other URL that fsspec knows: s3://BUCKET/FOLDER, gs://BUCKET/FOLDER.

There lie finished runs only: URL/runs/RUN_ID/{claim, samples.parquet, run.json}, put in this order. The claim is put under
the condition that there is none, so of two publishers with other content one is refused before it has put anything else;
a reader takes a run as there once its record is, which comes last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leaderboards.errors import BadStore, Conflict, ResultsError
from leaderboards.moving import Merged, check_source
from leaderboards.places import MARK, RECORD, SAMPLES, Stamp, check_ends
from leaderboards.records import Run
from leaderboards.store import Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from fsspec import AbstractFileSystem

CLAIM = "claim"

EXTRAS = {"s3": "s3fs, pip install 'flamingo-lab[s3]'", "gs": "gcsfs, pip install gcsfs"}
"""What a URL's kind needs besides fsspec."""

WRITTEN_AT = ("LastModified", "mtime", "updated", "created")
"""How file systems name the time of writing."""


class RemotePlace:
    """A URL. Keys come from the environment, as the storage's own tools read them."""

    def __init__(self, url: str) -> None:
        self.name = url.rstrip("/")
        with _told(self.name):
            self.files, root = _opened(self.name)
        self._root = root.rstrip("/")
        self._listed: dict[str, Stamp] = {}
        self._keys: dict[str, str] = {}
        self._sound: dict[str, Stamp] = {}
        self._damaged: dict[str, Stamp] = {}

    def key(self, run_id: str, name: str) -> str:
        """A file of a run, as the file system names it."""
        return f"{self._root}/runs/{run_id}/{name}"

    def problem(self) -> str | None:
        """None: a bucket may hold anything else beside."""

    def records(self) -> Mapping[str, Stamp]:
        """The runs whose record is there, by one listing."""
        with _told(self.name):
            self.files.invalidate_cache()
            listed: Any
            try:
                listed = self.files.find(f"{self._root}/runs", detail=True)
            except FileNotFoundError:
                self.files.ls(self._root.split("/")[0])  # no folder is an empty one, no bucket is a mistake
                listed = {}
        self._listed = {key: _stamp(facts) for key, facts in listed.items()}
        found: dict[str, Stamp] = {}
        for key, stamp in sorted(self._listed.items()):
            *_, run_id, name = key.split("/")
            if name == RECORD and key == self.key(run_id, RECORD):
                found[run_id] = stamp
        return found

    def text(self, run_id: str) -> str:
        """The record's content."""
        with _told(self.name):
            return self._bytes(self.key(run_id, RECORD)).decode("utf-8")

    def samples(self, run_id: str) -> str:
        """The address of the samples, after a look at their ends."""
        key = self.key(run_id, SAMPLES)
        if key not in self._listed:
            self.records()
        stamp = self._listed.get(key)
        if stamp is None:
            raise FileNotFoundError(key)
        address = self.files.unstrip_protocol(key)
        self._keys[address] = key
        if self._damaged.get(address) == stamp:
            raise BadStore(f"{address}: damaged, not readable to its end; publish the run again")
        if self._sound.get(key) != stamp:
            size = stamp[1]
            with _told(self.name):
                first = self._bytes(key, 0, min(size, len(MARK)))
                check_ends(address, size, first, lambda: self._bytes(key, size - 8, size))
            self._sound[key] = stamp
        return address

    def _bytes(self, key: str, start: int | None = None, end: int | None = None) -> bytes:
        found = self.files.cat_file(key, start=start, end=end)
        return found if isinstance(found, bytes) else found.encode()

    def seen(self, run_id: str) -> Stamp:
        """As it was looked at."""
        return self._sound[self.key(run_id, SAMPLES)]

    def progress(self, run_id: str) -> tuple[bool, int]:
        """Nobody works here: there lie finished runs only."""
        return False, 0

    def condemn(self, address: str) -> None:
        """Left out from now on."""
        self._damaged[address] = self._listed[self._keys[address]]

    def connect(self) -> DuckDBPyConnection:
        """A connection that reads through fsspec; DuckDB's own extension for URLs is not everywhere to be had."""
        import duckdb

        connection = duckdb.connect(config={"autoinstall_known_extensions": False, "autoload_known_extensions": False})
        connection.register_filesystem(self.files)
        return connection


def publish(sources: Sequence[Store], place: RemotePlace) -> Merged:
    """Put the finished runs of folders where others read them. Raises `Conflict` for other content.

    Raises `BadStore` for a folder that holds none or a file that cannot be read; then nothing was put. Stopped at any
    moment, the same call goes on: what it has claimed it knows by the content's digest.
    """
    for source in sources:
        check_source(source)
    wanted = [(source, run) for source in sources for run in source.runs() if run.status != "running"]
    held = [(source, run.run_id, *_content(source, run)) for source, run in wanted]
    brought: list[str] = []
    there: list[str] = []
    for source, run_id, record, file, digest in held:
        is_mine = _claim(place, source, run_id, digest)
        with _told(place.name):
            if not is_mine and place.files.exists(place.key(run_id, RECORD)):
                there.append(run_id)
                continue
            place.files.put_file(str(file), place.key(run_id, SAMPLES))
            place.files.pipe_file(place.key(run_id, RECORD), record)
        brought.append(run_id)
    return Merged(brought, there)


def _content(source: Store, run: Run) -> tuple[bytes, Path, str]:
    """A run's record, the file of its samples, and the digest of both."""
    record, file = run.to_json().encode(), Path(source.file_of(run.run_id))
    digest = hashlib.sha256(record)
    with file.open("rb") as stream:
        digest.update(hashlib.file_digest(stream, "sha256").digest())
    return record, file, digest.hexdigest()


def _claim(place: RemotePlace, source: Store, run_id: str, digest: str) -> bool:
    """Whether the run was claimed now; False where it was before, for the same content."""
    key = place.key(run_id, CLAIM)
    claim = {"content": digest, "claimed": datetime.now(UTC).isoformat(timespec="seconds")}
    with _told(place.name):
        try:
            place.files.pipe_file(key, json.dumps(claim).encode(), mode="create")
            return True
        except FileExistsError:
            held: dict[str, Any] = json.loads(place.files.cat_file(key))
    if held["content"] != digest and not _is_there(place, source, run_id):
        raise Conflict(
            f"run {run_id}: {place.name} has it with other content, claimed {held['claimed']}; it was not published. "
            f"To replace it, delete {place.files.unstrip_protocol(place.key(run_id, ''))} first"
        )
    return False


def _is_there(place: RemotePlace, source: Store, run_id: str) -> bool:
    """Whether the place has the same run, of which an older version of this package wrote another record."""
    if run_id not in place.records():
        return False
    there = Store(place)
    return (
        there.run(run_id) == source.run(run_id)
        and there.samples(run_id).fetchall() == source.samples(run_id).fetchall()
    )


def _opened(url: str) -> tuple[AbstractFileSystem, str]:
    try:
        from fsspec.core import url_to_fs

        return url_to_fs(url)
    except ImportError:
        kind = url.split("://")[0]
        raise BadStore(
            f"{url}: addresses of this kind need {EXTRAS.get(kind, f'a file system for {kind}://')}"
        ) from None
    except ValueError as error:
        raise BadStore(f"{url}: {error}") from None


def _stamp(facts: Mapping[str, Any]) -> Stamp:
    written = next((facts[name] for name in WRITTEN_AT if facts.get(name)), 0.0)
    return (written.timestamp() if isinstance(written, datetime) else float(written), int(facts["size"] or 0))


@contextmanager
def _told(name: str) -> Generator[None]:
    """Turn what storages and networks raise, which has no common root, into one line about the URL."""
    try:
        yield
    except (ResultsError, FileExistsError):
        raise
    except Exception as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise BadStore(f"{name}: cannot be reached or used ({said[:200]})") from error
