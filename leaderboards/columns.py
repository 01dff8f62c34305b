"""Rows as an Arrow table, through Arrow's JSON reader.

`pa.Table.from_pylist` would do, but turning any Python list into an array imports pandas: a quarter of a second at the
end of every run.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_BYTES = 1 << 20
"""What the reader takes at once, unless one row is longer."""


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """The rows, JSON's kinds of values only; a column of maps is given as a list of objects with `key` and `value`."""
    import pyarrow as pa
    from pyarrow.json import ParseOptions, ReadOptions, read_json

    if not rows:
        return schema.empty_table()
    lines = [json.dumps(row).encode() + b"\n" for row in rows]
    plain = pa.schema([pa.field(one.name, _without_maps(one.type)) for one in schema])
    read = read_json(
        io.BytesIO(b"".join(lines)),
        ReadOptions(use_threads=False, block_size=max(BLOCK_BYTES, *map(len, lines))),
        ParseOptions(explicit_schema=plain, unexpected_field_behavior="error"),
    )
    batches = [
        pa.RecordBatch.from_arrays(
            [_with_maps(*pair) for pair in zip(batch.columns, schema.types, strict=True)], schema=schema
        )
        for batch in read.select(schema.names).to_batches()
    ]
    return pa.Table.from_batches(batches, schema)


def _without_maps(kind: pa.DataType) -> pa.DataType:
    """The type that the JSON reader, which knows no maps, can fill."""
    import pyarrow as pa

    return pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])) if pa.types.is_map(kind) else kind


def _with_maps(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """A column of lists of pairs as what it stands for."""
    import pyarrow as pa

    if not pa.types.is_map(kind):
        return column
    return pa.MapArray.from_arrays(column.offsets, column.values.field("key"), column.values.field("value"))
