"""Answers as they come: one JSON line each, appended and flushed; a torn last line is dropped on opening."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from leaderboards.errors import BadStore
from leaderboards.files import told

JOURNAL = "journal.jsonl"
"""The file's name in a run's folder."""

SYNC_SECONDS = 0.5
"""How often the disk itself is waited for; a kill of the process loses nothing in between, a power cut at most this."""


def lines(path: Path) -> int:
    """How many whole lines a journal has; none where there is no file."""
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


class Journal:
    """An append-only file of one JSON object a line. `held` are the lines that were there on opening.

    Whoever appends does not wait for the disk: a thread does, and what it is refused is raised at the next call.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_file():
            raise BadStore(f"{path}: not a file; move it away")
        with told(path):
            path.touch()
            content = path.read_bytes()
        whole, newline, torn = content.rpartition(b"\n")
        self.held: list[dict[str, Any]] = []
        for number, line in enumerate(whole.split(b"\n") if newline else [], 1):
            try:
                self.held.append(json.loads(line))
            except ValueError:
                raise BadStore(f"{path}: line {number} is damaged; move the run's folder away and ask again") from None
        with told(path):
            if torn:
                os.truncate(path, len(content) - len(torn))
            self._stream = path.open("ab", buffering=0)
        self._is_unsynced = threading.Event()
        self._is_closing = threading.Event()
        self._refused: OSError | None = None
        self._thread = threading.Thread(target=self._sync_now_and_then, name="journal", daemon=True)

    def append(self, line: Mapping[str, Any]) -> None:
        """Write one line, whole, in one call of the operating system."""
        text = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        self._tell()
        with told(self.path):
            written = self._stream.write(text)
            if written != len(text):
                raise OSError(28, "No space left on device")
        self._is_unsynced.set()

    def sync(self) -> None:
        """Wait until the disk has everything."""
        self._tell()
        with told(self.path):
            os.fsync(self._stream.fileno())

    def _sync_now_and_then(self) -> None:
        while not self._is_closing.wait(SYNC_SECONDS):
            if self._is_unsynced.is_set():
                self._is_unsynced.clear()
                try:
                    os.fsync(self._stream.fileno())
                except OSError as error:
                    self._refused = error
                    return

    def _tell(self) -> None:
        """Raise what the thread was refused: the operating system tells it once, to whoever waits first."""
        if self._refused is not None:
            with told(self.path):
                raise self._refused

    def __enter__(self) -> Journal:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closing.set()
        self._thread.join()
        self._stream.close()
        if kind is None:
            self._tell()
