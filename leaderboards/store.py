"""The results folder: one folder a run, read all at once.

RESULTS/runs/RUN_ID/{run.json, journal.jsonl, samples.parquet, lock}. A run is complete exactly when its `run.json` says
so; it is written last, after the samples.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leaderboards.errors import BadStore, UnknownRun
from leaderboards.files import told, write_whole
from leaderboards.journal import Journal
from leaderboards.lock import locked
from leaderboards.records import Run, SampleRecord, sample_schema, samples_table

if TYPE_CHECKING:
    import pandas as pd
    from duckdb import DuckDBPyRelation

QUERIES = Path(__file__).parent / "queries"


@cache
def query(name: str) -> str:
    """The text of a query in `queries/`."""
    return (QUERIES / f"{name}.sql").read_text(encoding="utf-8")


class RunFolder:
    """A run being written: its journal, and where its records go."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self.path = path
        self.journal = journal

    def state(self, run: Run) -> None:
        """Write `run.json`."""
        write_whole(self.path / "run.json", lambda stream: stream.write(run.to_json().encode()))

    def finish(self, run: Run, samples: Sequence[SampleRecord]) -> None:
        """Write the samples, then the record that makes the run complete."""
        import pyarrow.parquet as pq

        self.journal.sync()
        table = samples_table(samples)
        write_whole(self.path / "samples.parquet", lambda stream: pq.write_table(table, stream, compression="zstd"))
        self.state(run)


class Samples:
    """Samples that are read when rows are asked for: a relation of DuckDB, with pandas' usual name for a frame."""

    def __init__(self, relation: DuckDBPyRelation) -> None:
        self.relation = relation

    def to_pandas(self) -> pd.DataFrame:
        """All rows as a frame of pandas."""
        return self.relation.df()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.relation, name)


class Store:
    """A folder of results. It need not exist before the first run is written."""

    def __init__(self, path: Path) -> None:
        for folder in (path, path / "runs"):
            if folder.exists() and not folder.is_dir():
                raise BadStore(f"{folder}: a file stands where a folder should be; choose another --results folder")
        self.path = path

    @contextmanager
    def begin(self, run_id: str) -> Generator[RunFolder]:
        """The run's folder, locked for this process, with what its journal already holds."""
        folder = self.path / "runs" / run_id
        with told(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / "lock"), Journal(folder / "journal.jsonl") as journal:
            yield RunFolder(folder, journal)

    def runs(self) -> list[Run]:
        """Every run, the newest first."""
        found = [self._read(path) for path in sorted(self.path.glob("runs/*/run.json"))]
        return sorted(found, key=lambda run: run.created, reverse=True)

    def run(self, prefix: str) -> Run:
        """The run whose id begins with `prefix`."""
        matching = [path for path in self.path.glob("runs/*/run.json") if path.parent.name.startswith(prefix)]
        if len(matching) == 1:
            return self._read(matching[0])
        if not matching:
            raise UnknownRun(f"no run {prefix!r} in {self.path}; flab list runs shows what is there")
        names = ", ".join(path.parent.name for path in matching)
        raise UnknownRun(f"{prefix!r} begins {len(matching)} runs: {names}")

    def samples(self, run_id: str | None = None) -> Samples:
        """The samples of a run in the order in which they were asked for, or those of all finished runs, run by run."""
        import duckdb

        if run_id is not None:
            return Samples(self.ask("samples", files=[self.file_of(run_id)]))
        files = [self.file_of(run.run_id) for run in self.runs() if run.status != "running"]
        if not files:
            return Samples(duckdb.connect().from_arrow(sample_schema().empty_table()))
        return Samples(self.ask("samples", files=files))

    def file_of(self, run_id: str) -> str:
        """Where a finished run's samples are. Raises `UnknownRun` for one that has none."""
        file = self.path / "runs" / run_id / "samples.parquet"
        if not file.is_file():
            raise UnknownRun(f"run {run_id} has no samples yet; the same flab eval command goes on with it")
        return str(file)

    def ask(self, name: str, **params: Any) -> DuckDBPyRelation:
        """What a query of `queries/` gives. Every call has a connection of its own, so threads need not wait."""
        import duckdb

        try:
            found = duckdb.connect().sql(query(name), params=params)
        except duckdb.Error as error:
            raise BadStore(f"{self.path}: samples not readable as Parquet ({str(error).splitlines()[0]})") from None
        assert found is not None  # a select always gives a relation
        return found

    def wrong(self, run_id: str, metric: str, most: int) -> list[SampleRecord]:
        """The first samples that have no answer or did not get the full score of the metric, `METRIC/VARIANT`."""
        found = self.samples(run_id).filter(f"error_kind is not null or scores['{metric}'] < 1").limit(most)
        return [SampleRecord(**dict(zip(found.columns, row, strict=True))) for row in found.fetchall()]

    def _read(self, path: Path) -> Run:
        try:
            return Run.from_json(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise BadStore(f"{path}: not readable ({error})") from None


def open(path: Path | str) -> Store:
    """The results in a folder: `leaderboards.open("results").samples().to_pandas()`."""
    return Store(Path(path))
