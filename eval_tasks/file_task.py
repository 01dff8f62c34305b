"""A benchmark in its authors' own files or in the hub's: what is common to reading all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from eval_tasks import parquet
from eval_tasks.errors import MissingData
from eval_tasks.sources import Row
from eval_tasks.task import Hub, Sample, Task


class FileTask(Task):
    """A subclass reads its original files, and the rows of its data set on the hub where there is one.

    `files` says in a few words which files the original ones are, and where they come from.
    """

    files: ClassVar[str]

    def samples(self, split: str, data: Path | None) -> Sequence[Sample]:
        """The split's questions, in the order of its files. Raises `MissingData` that says where they come from.

        A folder of the task's name inside the root is looked at too, so that one root can hold many benchmarks.
        """
        root = self.root(data, split)
        try:
            found = self._read(split, root)
            if data is None:
                self._see_to_whole(split, len(found), root)
            return found
        except MissingData as error:
            own = root / self.name
            if not own.is_dir():
                raise
            first = error
        try:
            return self._read(split, own)
        except MissingData as error:
            raise MissingData(f"{first}; nor is it in {self.name}: {error}") from None

    def version(self, data: Path | None, splits: Iterable[str] = ()) -> str | None:
        """The data sets and their revisions, where they are read from the hub's cache."""
        hubs = [self._own_hub(), *map(self.hub_of, splits)] if data is None else []
        found = {hub.repository: folder.name for hub in hubs if hub and (folder := parquet.folder(hub))}
        return ", ".join(f"{repository}@{revision}" for repository, revision in found.items()) or None

    def hub_of(self, split: str) -> Hub | None:
        """The data set on the hub that a split is fetched from, None where none has it."""
        others = self.hub.shots if self.hub is not None and split in self.splits_for_shots else None
        found = others or self._own_hub()
        return None if found is None or split in found.lacks else found

    def _own_hub(self) -> Hub | None:
        """The task's data set on the hub, at the revision that is asked."""
        return replace(self.hub, revision=self.revision) if self.hub and self.revision else self.hub

    def _read(self, split: str, root: Path) -> list[Sample]:
        there = self.parquet(split, root)
        found = list(self.from_hub(split, parquet.rows(there), root) if there else self.from_files(split, root))
        if not found:
            raise MissingData(
                f"{root}: the {split} split holds no questions; it is read as {self.name}, from {self.files}"
            )
        return found

    def _see_to_whole(self, split: str, questions: int, root: Path) -> None:
        """Authors' files in the hub's cache do not say how many they are, as Parquet's do, and a download may be cut."""
        hub, size = self.hub_of(split), self.size(split)
        if hub and hub.files and size and questions < size:
            raise MissingData(
                f"{root}: {questions} of the {size} questions are here; fetch the others with {_command(hub)}"
            )

    def parquet(self, split: str, root: Path) -> list[Path]:
        """The split's files in the hub's layout, none where the folder has another one."""
        for hub in (self.hub, self.hub_of(split)):
            if hub and (found := parquet.files(root, hub.called(split), *hub.folders(split)[:1])):
                return found
        return []

    def fetch(self, splits: Iterable[str]) -> None:
        """Fetch what the splits need into the hub's cache, and nothing else. Raises `MissingData` with the reason."""
        wanted: dict[str, tuple[Hub, list[str]]] = {}
        for split in splits:
            if hub := self.hub_of(split):
                wanted.setdefault(hub.repository, (hub, []))[1].append(split)
        for hub, of_hub in wanted.values():
            parquet.fetch(hub, of_hub)

    def root(self, data: Path | None, split: str) -> Path:
        """The folder of a split's files: the given one, or the hub's cache."""
        if data is not None:
            if self.revision is not None:
                raise MissingData(
                    f"{self.name}@{self.revision}: a revision is one of the hub, and --data {data} a folder; leave one away"
                )
            if not data.is_dir():
                raise MissingData(f"{data}: no such folder; --data is the root of the benchmark's own files")
            return data
        hub = self.hub_of(split)
        found = parquet.folder(hub) if hub is not None else None
        if found is None:
            lacking = f" of the {split} split, which {self.hub.repository} lacks" if self.hub and hub is None else ""
            fetch = f", or fetch it with {_command(hub)}{self._else_there(hub)}" if hub is not None else ""
            raise MissingData(f"{self.name}: no data{lacking}; point --data to a folder with {self.files}{fetch}")
        return found

    def _else_there(self, hub: Hub) -> str:
        """The end of a message, where the hub's cache has another revision of the task's own data set than is asked."""
        is_own = self.hub is not None and hub.repository == self.hub.repository
        if not is_own or not hub.revision or parquet.folder(replace(hub, revision=None)) is None:
            return ""
        return f"; the cache has another revision, which {self.name}@main reads"

    def from_files(self, split: str, root: Path) -> Iterator[Sample]:
        """The samples of the original files."""
        raise NotImplementedError

    def from_hub(self, split: str, rows: Iterator[Row], root: Path) -> Iterator[Sample]:
        """The samples of the data set's rows, in their order."""
        raise NotImplementedError


def _command(hub: Hub) -> str:
    revision = f" --revision {hub.revision}" if hub.revision else ""
    return f"flab eval --download, or: hf download --repo-type dataset {hub.repository}{revision}"
