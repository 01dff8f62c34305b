"""A benchmark in its authors' own files or in the hub's: what is common to reading all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from eval_tasks import parquet
from eval_tasks.errors import MissingData
from eval_tasks.sources import Row
from eval_tasks.task import Sample, Task


class FileTask(Task):
    """A subclass reads its original files, and the rows of its data set on the hub where there is one.

    `files` says in a few words which files the original ones are, and where they come from.
    """

    files: ClassVar[str]

    def samples(self, split: str, data: Path | None) -> Sequence[Sample]:
        """The split's questions, in the order of its files. Raises `MissingData` that says where they come from.

        A folder of the task's name inside the root is looked at too, so that one root can hold many benchmarks.
        """
        root = self.root(data)
        try:
            return self._read(split, root)
        except MissingData as error:
            own = root / self.name
            if not own.is_dir():
                raise
            first = error
        try:
            return self._read(split, own)
        except MissingData as error:
            raise MissingData(f"{first}; nor is it in {self.name}: {error}") from None

    def version(self, data: Path | None) -> str | None:
        """The data set and its revision, where it is read from the hub's cache."""
        found = parquet.folder(self.hub) if data is None and self.hub is not None else None
        return None if found is None or self.hub is None else f"{self.hub.repository}@{found.name}"

    def _read(self, split: str, root: Path) -> list[Sample]:
        there = self.parquet(split, root)
        found = list(self.from_hub(split, parquet.rows(there), root) if there else self.from_files(split, root))
        if not found:
            raise MissingData(
                f"{root}: the {split} split holds no questions; it is read as {self.name}, from {self.files}"
            )
        return found

    def parquet(self, split: str, root: Path) -> list[Path]:
        """The split's files in the hub's layout, none where the folder has another one."""
        if self.hub is None:
            return []
        return parquet.files(root, self.hub.called(split), *self.hub.folders(split)[:1])

    def fetch(self, splits: Iterable[str]) -> None:
        """Fetch what the splits need into the hub's cache, and nothing else. Raises `MissingData` with the reason."""
        if self.hub is not None:
            parquet.fetch(self.hub, splits)

    def root(self, data: Path | None) -> Path:
        """The folder of the benchmark's files: the given one, or the hub's cache."""
        if data is not None:
            if not data.is_dir():
                raise MissingData(f"{data}: no such folder; --data is the root of the benchmark's own files")
            return data
        found = parquet.folder(self.hub) if self.hub is not None else None
        if found is None:
            fetch = (
                f", or fetch it with flab eval --download, or: hf download --repo-type dataset {self.hub.repository}"
                + (f" --revision {self.hub.revision}" if self.hub.revision else "")
                if self.hub is not None
                else ""
            )
            raise MissingData(f"{self.name}: no data; point --data to a folder with {self.files}{fetch}")
        return found

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """The samples of the original files."""
        raise NotImplementedError

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """The samples of the data set's rows, in their order."""
        raise NotImplementedError
