"""Samples that are read when rows are asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from leaderboards.errors import BadStore

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from duckdb import DuckDBPyConnection, DuckDBPyRelation


class Samples:
    """Rows of samples: a relation of DuckDB, with pandas' usual name for a frame.

    `blame` names the files that cannot be read, which DuckDB does not always do. What is not here is the relation's own.
    """

    def __init__(
        self, relation: DuckDBPyRelation, connection: DuckDBPyConnection, blame: Callable[[], str] = lambda: ""
    ) -> None:
        self.relation = relation
        self._connection = connection  # a relation does not keep it alive
        self._blame = blame

    @property
    def columns(self) -> list[str]:
        """The columns' names."""
        return self.relation.columns

    def to_pandas(self) -> pd.DataFrame:
        """All rows as a frame of pandas."""
        with self._told():
            return self.relation.df()

    df = to_pandas

    def to_arrow_table(self) -> pa.Table:
        """All rows as a table of Arrow."""
        with self._told():
            return self.relation.to_arrow_table()

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows as tuples."""
        with self._told():
            return self.relation.fetchall()

    def filter(self, condition: str) -> Samples:
        """The rows for which a condition in SQL holds."""
        return Samples(self.relation.filter(condition), self._connection, self._blame)

    def limit(self, most: int, offset: int = 0) -> Samples:
        """So many of the rows."""
        return Samples(self.relation.limit(most, offset), self._connection, self._blame)

    def select(self, *columns: str) -> Samples:
        """Some columns, which alone are read from the files."""
        return Samples(self.relation.select(*columns), self._connection, self._blame)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.relation, name)

    @contextmanager
    def _told(self) -> Generator[None]:
        import duckdb

        try:
            yield
        except duckdb.Error as error:
            where = self._blame()
            if not where:
                raise
            raise BadStore(f"{where}: not readable as Parquet ({str(error).splitlines()[0]})") from None


def unreadable(connect: Callable[[], DuckDBPyConnection], query: str, files: Sequence[str]) -> list[str]:
    """The files that cannot be read to their end by a query for all of their rows."""
    import duckdb

    found: list[str] = []
    for file in files:
        try:
            connect().sql(query, params={"files": [file]}).to_arrow_table()
        except duckdb.Error:
            found.append(file)
    return found
