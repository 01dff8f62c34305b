"""Whether the fields of a record hold what their annotations say: its file may come from anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints


def misfit(record: object) -> str | None:
    """The first field that holds another kind of value than its annotation says, None where all fit."""
    for name, kinds in _kinds(type(record)).items():
        if not isinstance(getattr(record, name), kinds):
            return name
    return None


@cache
def _kinds(record: type) -> Mapping[str, tuple[type, ...]]:
    return {name: tuple(_of(hint)) for name, hint in get_type_hints(record).items()}


def _of(hint: Any) -> Iterator[type]:
    origin = get_origin(hint)
    if origin is UnionType:
        for one in get_args(hint):
            yield from _of(one)
    elif origin is Literal:
        yield from {type(one) for one in get_args(hint)}
    elif hint is float:
        yield from (float, int)
    else:
        yield origin or hint
