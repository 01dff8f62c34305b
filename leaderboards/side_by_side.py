"""Two runs' samples as columns side by side, one row a question."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from leaderboards.records import Run, Term
from leaderboards.store import Store
from leaderboards.terms import Terms

if TYPE_CHECKING:
    import pyarrow as pa


class SideBySide(NamedTuple):
    """Questions as columns: which run has each one and an answer to it, which slices hold it, and its scores, NaN without.

    `clusters` numbers documents from 0; `is_changed`: the second run has other targets. `terms_a`, `terms_b`: what questions
    add to figures that are no mean of scores.
    """

    in_a: NDArray[np.bool_]
    in_b: NDArray[np.bool_]
    is_changed: NDArray[np.bool_]
    is_answered: NDArray[np.bool_]
    clusters: NDArray[np.int64]
    slices: Mapping[str, NDArray[np.bool_]]
    scores_a: Mapping[str, NDArray[np.float64]]
    scores_b: Mapping[str, NDArray[np.float64]]
    terms_a: Mapping[str, Terms]
    terms_b: Mapping[str, Terms]

    @property
    def is_shared(self) -> NDArray[np.bool_]:
        """Which questions stand in both runs."""
        return self.in_a & self.in_b


def side_by_side(store: Store, a: Run, b: Run) -> SideBySide:
    """The questions of two runs, joined by their ids."""
    import pyarrow.compute

    table = store.ask("pairs", [store.file_of(run.run_id) for run in (a, b)], a=a.run_id, b=b.run_id).to_arrow_table()

    pc: Any = pyarrow.compute  # made while it is imported, so no type checker knows its functions

    def keys(column: str) -> list[str]:
        entries = pc.list_flatten(table[column].combine_chunks().cast(_entries(table[column].type)))
        return pc.unique(pc.struct_field(entries, 0)).to_pylist()

    def values(column: str, key: str) -> Any:
        return pc.map_lookup(table[column], query_key=key, occurrence="first")

    slices: dict[str, NDArray[np.bool_]] = {}
    for key in keys("slices"):
        held = values("slices", key)
        for value in sorted(value for value in pc.unique(held).to_pylist() if value is not None):
            slices[f"{key}={value}"] = np.asarray(pc.fill_null(pc.equal(held, value), False))
    scores = [
        {key: values(column, key).to_numpy().astype(np.float64) for key in keys(column)}
        for column in ("scores_a", "scores_b")
    ]
    terms = [{key: _terms(values(column, key)) for key in keys(column)} for column in ("terms_a", "terms_b")]
    return SideBySide(
        in_a=np.asarray(table["in_a"]),
        in_b=np.asarray(table["in_b"]),
        is_changed=np.asarray(table["is_changed"]),
        is_answered=np.asarray(pc.and_(pc.is_null(table["error_a"]), pc.is_null(table["error_b"]))),
        clusters=np.asarray(table["cluster"]),
        slices=slices,
        scores_a=scores[0],
        scores_b=scores[1],
        terms_a=terms[0],
        terms_b=terms[1],
    )


def _terms(held: Any) -> Terms:
    """From each question's list of terms."""
    import pyarrow.compute

    pc: Any = pyarrow.compute
    held = held.combine_chunks()
    inner = pc.list_flatten(held)
    group, above, below = (pc.struct_field(inner, name).to_numpy(zero_copy_only=False) for name in Term._fields)
    return Terms(pc.list_parent_indices(held).to_numpy(), group, above, below)


def _entries(kind: pa.MapType) -> pa.DataType:
    """A map's type as a list of structs, which Arrow can flatten."""
    import pyarrow as pa

    return pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)]))
