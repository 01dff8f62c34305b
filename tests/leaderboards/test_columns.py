"""Rows become the table that Arrow itself makes of them, without pandas."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from leaderboards import columns

PAIR = pa.struct([("group", pa.string()), ("above", pa.float64())])
SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("count", pa.int64()),
        ("seconds", pa.float64()),
        ("scores", pa.map_(pa.string(), pa.float64())),
        ("texts", pa.list_(pa.string())),
        ("terms", pa.map_(pa.string(), pa.list_(PAIR))),
    ],
    metadata={"schema_version": "1"},
)

numbers = st.floats(allow_nan=False)
terms = st.lists(st.fixed_dictionaries({"group": st.text(), "above": numbers}), max_size=2)


def maps(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(st.text(), values, max_size=3)


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "terms": maps(terms),  # not in the schema's order
            "name": st.none() | st.text(),
            "count": st.integers(-(2**63), 2**63 - 1),
            "seconds": st.none() | numbers,
            "scores": maps(numbers),
            "texts": st.none() | st.lists(st.none() | st.text(), max_size=3),
        }
    ),
    max_size=6,
)


def pairs(row: dict[str, Any]) -> dict[str, Any]:
    made = {
        name: [{"key": key, "value": value} for key, value in held.items()]
        for name, held in row.items()
        if isinstance(held, dict)
    }
    return {**row, **made}


@given(ROWS)
def test_the_table_is_that_of_arrow(rows: list[dict[str, Any]]) -> None:
    expected = pa.Table.from_pylist(
        [{name: list(held.items()) if isinstance(held, dict) else held for name, held in row.items()} for row in rows],
        schema=SCHEMA,
    )
    table = columns.table_of([pairs(row) for row in rows], SCHEMA)
    assert table.schema.equals(SCHEMA, check_metadata=True)
    assert table.combine_chunks().equals(expected.combine_chunks())


def test_rows_longer_than_a_block_and_many_blocks() -> None:
    one = {"count": 1, "seconds": 0.5, "scores": {"m": 1.0}, "texts": ["a"], "terms": {}}
    rows: list[dict[str, Any]] = [
        {"name": "x" * length, **one} for length in (10, 3 * columns.BLOCK_BYTES, *[400_000] * 9)
    ]
    table = columns.table_of([pairs(row) for row in rows], SCHEMA)
    assert table["count"].num_chunks > 1
    assert [{**row, "scores": dict(row["scores"]), "terms": dict(row["terms"])} for row in table.to_pylist()] == rows


def test_pandas_is_not_imported() -> None:
    code = (
        "import sys; from tests.leaderboards.made import SAMPLE; from leaderboards.records import samples_table;"
        "assert samples_table([SAMPLE]).num_rows == 1; sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
