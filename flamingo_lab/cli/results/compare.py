"""`flab results compare`: two or more runs on the same questions."""

from __future__ import annotations

import json as jsons
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flamingo_lab.cli import options
from flamingo_lab.cli.results.choice import PLACE, Place, opened
from flamingo_lab.cli.results.table import drawn

if TYPE_CHECKING:
    from leaderboards.compare import Comparison, Differing
    from leaderboards.store import Store

EXAMPLE = "flab results compare 7c1e5a90 0b4d2f11 --slice kind"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("compare", epilog=options.example(EXAMPLE))(compare)


def compare(
    run_a: Annotated[str, typer.Argument(help="A run, by the beginning of its id (flab list runs).")],
    run_b: Annotated[list[str], typer.Argument(help="One or more runs that are set against it.")],
    results: Place = PLACE,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="METRIC/VARIANT, or METRIC for all its variants; may be repeated. All by default."),
    ] = None,
    slice: Annotated[
        list[str] | None, typer.Option(help="all, KEY=VALUE, or KEY for all its values; may be repeated.")
    ] = None,
    questions: Annotated[int, typer.Option(min=0, help="So many of the questions on which they differ.")] = 10,
    json: options.Json = False,
) -> None:
    """Difference, 95 % interval and test on the questions that both answered, and where they differ."""
    from leaderboards import boards
    from leaderboards import compare as comparing

    store = opened(results)
    found = comparing.against(store, run_a, run_b, metrics=metric, slices=slice)
    differing = [_differing(store, one, questions) for one in found]
    if json:
        for comparison, rows in zip(found, differing, strict=True):
            held = asdict(comparison) | {"differing": [asdict(row) for row in rows]}
            sys.stdout.write(jsons.dumps(held, ensure_ascii=False) + "\n")
        return
    sys.stdout.write(drawn(boards.comparison_sheet(found)))
    for comparison, rows in zip(found, differing, strict=True):
        if rows:
            sys.stdout.write(drawn(boards.differing_sheet(comparison, rows)))


def _differing(store: Store, found: Comparison, most: int) -> Sequence[Differing]:
    """The questions on which the first of the differences rests."""
    from leaderboards import compare as comparing

    tested = next((one for one in found.differences if one.test), None)
    if tested is None or not most:
        return []
    return comparing.differing(store, found.a.run_id, found.b.run_id, tested.carried, slice=tested.slice, limit=most)
