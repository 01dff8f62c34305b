"""The results folder: one folder a run, read all at once.

RESULTS/runs/RUN_ID/{run.json, journal.jsonl, samples.parquet, lock}. A run is complete exactly when its `run.json` says
so; it is written last, after the samples. A file that is damaged or from a newer version is left out and named; the rest
stays readable.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from leaderboards.errors import BadStore, ResultsError, UnknownRun
from leaderboards.files import told, write_whole
from leaderboards.journal import JOURNAL, Journal
from leaderboards.lock import LOCK, locked
from leaderboards.places import RECORD, SAMPLES, LocalPlace, Place, Stamp
from leaderboards.records import Run, SampleRecord, sample_schema, samples_table
from leaderboards.samples import Samples, unreadable

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
        write_whole(self.path / RECORD, lambda stream: stream.write(run.to_json().encode()))

    def finish(self, run: Run, samples: Sequence[SampleRecord]) -> None:
        """Write the samples, then the record that makes the run complete."""
        import pyarrow.parquet as pq

        self.journal.sync()
        table = samples_table(samples)
        write_whole(self.path / SAMPLES, lambda stream: pq.write_table(table, stream, compression="zstd"))
        self.state(run)


class Standing(NamedTuple):
    """A run's status, `stopped` where it is not finished and no process is at it; `answers`: of one that is not finished."""

    status: str
    answers: int | None
    questions: int

    def __str__(self) -> str:
        kept = "" if self.answers is None else f", {self.answers:,} of {self.questions:,} questions answered"
        return self.status + kept


class _Read(NamedTuple):
    """What a record was when it had its stamp: a run, or why it is none."""

    stamp: Stamp
    run: Run | None
    problem: ResultsError | None


class Store:
    """Results at a place: a folder, which need not exist before the first run is written, or object storage."""

    def __init__(self, path: Path | Place) -> None:
        self.place: Place = LocalPlace(path) if isinstance(path, Path) else path
        self._read: dict[str, _Read] = {}
        self.kept: dict[Any, Any] = {}  # what was worked out of samples, by what it came from (`answered`)

    @property
    def path(self) -> Path:
        """The folder. Raises `BadStore` for a place that is none."""
        if isinstance(self.place, LocalPlace):
            return self.place.path
        raise BadStore(f"{self.place.name}: only a folder can be changed; flab results merge publishes a folder's runs")

    @contextmanager
    def begin(self, run_id: str) -> Generator[RunFolder]:
        """The run's folder, locked for this process, with what its journal already holds."""
        folder = self.path / "runs" / run_id
        with told(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / LOCK), Journal(folder / JOURNAL) as journal:
            yield RunFolder(folder, journal)

    def runs(self) -> list[Run]:
        """Every run that can be read, the newest first; `problems` names the others."""
        found = [one.run for one in self._all().values() if one.run is not None]
        return sorted(found, key=lambda run: run.created, reverse=True)

    def problems(self) -> list[str]:
        """What is left out, a line each: records that cannot be read, and finished runs whose samples are cut or gone.

        Of a folder that is none of results, that.
        """
        held = self._all()
        found = [str(one.problem) for one in held.values() if one.problem is not None]
        found += filter(None, [self.place.problem()])
        for run_id, one in held.items():
            if one.run is not None and one.run.status != "running":
                try:
                    self.file_of(run_id)
                except UnknownRun:
                    found.append(f"{self.place.name}: the samples of run {run_id} are gone; copy its folder again")
                except ResultsError as error:
                    found.append(str(error))
        return found

    def run(self, prefix: str) -> Run:
        """The run whose id begins with `prefix`. Raises what is wrong with its record."""
        records = self.place.records()
        matching = [run_id for run_id in records if run_id.startswith(prefix)]
        if len(matching) == 1:
            found = self._one(matching[0], records[matching[0]])
            if found.run is None:
                raise found.problem or BadStore(f"{self.place.name}: run {matching[0]} is not readable")
            return found.run
        if not matching:
            raise UnknownRun(f"no run {prefix!r} in {self.place.name}; flab list runs shows what is there")
        raise UnknownRun(f"{prefix!r} begins {len(matching)} runs: {', '.join(matching)}")

    def standing(self, run: Run) -> Standing:
        """How far a run is."""
        if run.status != "running":
            return Standing(run.status, None, run.n)
        is_at_work, answers = self.place.progress(run.run_id)
        return Standing("running" if is_at_work else "stopped", answers, run.n)

    def samples(self, run_id: str | None = None) -> Samples:
        """The samples of a run in the order in which they were asked for, or those of all finished runs, run by run."""
        if run_id is not None:
            return self.ask("samples", [self.file_of(run_id)])
        files = self.files()
        if files:
            return self.ask("samples", [*files.values()])
        connection = self.place.connect()
        return Samples(connection.from_arrow(sample_schema().empty_table()), connection)

    def files(self) -> Mapping[str, str]:
        """The samples' files of all finished runs by run, without those that are cut or gone."""
        found: dict[str, str] = {}
        for run in self.runs():
            if run.status != "running":
                try:
                    found[run.run_id] = self.file_of(run.run_id)
                except ResultsError:
                    continue
        return found

    def file_of(self, run_id: str) -> str:
        """Where a finished run's samples are. Raises `UnknownRun` for one that has none, `BadStore` for a cut file."""
        try:
            return self.place.samples(run_id)
        except FileNotFoundError:
            raise UnknownRun(f"run {run_id} has no samples yet; the same flab eval command goes on with it") from None
        except OSError as error:
            raise BadStore(f"{self.place.name}: samples of run {run_id} not readable ({error.strerror})") from None

    def ask(self, name: str, files: Sequence[str], **params: Any) -> Samples:
        """What a query of `queries/` gives on files of samples, its parameter `files`."""
        import duckdb

        def blame() -> str:
            found = unreadable(self.place.connect, query("samples"), files)
            for file in found:
                self.place.condemn(file)
            return ", ".join(found)

        connection = self.place.connect()
        try:
            found = connection.sql(query(name), params={"files": list(files), **params})
        except duckdb.Error as error:
            where = blame()
            if not where:
                raise
            raise BadStore(f"{where}: not readable as Parquet ({str(error).splitlines()[0]})") from None
        return Samples(found, connection, blame)

    def wrong(self, run_id: str, metric: str, most: int) -> list[SampleRecord]:
        """The first samples that have no answer or did not get the full score of the metric, `METRIC/VARIANT`."""
        quoted = metric.replace("'", "''")
        found = self.samples(run_id).filter(f"error_kind is not null or scores['{quoted}'] < 1").limit(most)
        return [SampleRecord.of_row(found.columns, row) for row in found.fetchall()]

    def _all(self) -> Mapping[str, _Read]:
        return {run_id: self._one(run_id, stamp) for run_id, stamp in self.place.records().items()}

    def _one(self, run_id: str, stamp: Stamp) -> _Read:
        """A record, read again only when its file has changed."""
        held = self._read.get(run_id)
        if held is None or held.stamp != stamp or stamp[1] == 0:
            where = f"{self.place.name}/runs/{run_id}/{RECORD}"
            try:
                run = Run.from_json(self.place.text(run_id), where)
                if run.run_id != run_id:  # paths are made of ids: one that is not the folder's could lead anywhere
                    raise BadStore(f"{where}: the record of another run, {run.run_id!r}; give the folder its name")
                held = _Read(stamp, run, None)
            except ResultsError as error:
                held = _Read(stamp, None, error)
            except (OSError, UnicodeDecodeError) as error:
                held = _Read(stamp, None, BadStore(f"{where}: not readable ({error})"))
            self._read[run_id] = held
        return held


def open(path: Path | str) -> Store:
    """The results in a folder (file:// is one) or at a URL: `leaderboards.open("results").samples().to_pandas()`."""
    name = str(path).removeprefix("file://")
    if "://" not in name:
        return Store(Path(name))
    from leaderboards.remote import RemotePlace

    return Store(RemotePlace(name))
