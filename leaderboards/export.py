"""The leaderboard as a file for others: JSON, and an HTML page that needs nothing else.

Neither holds commands, paths or machines: what is published is how a score was made, not where.
"""

from __future__ import annotations

import html as htmls
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leaderboards import boards, forms, ranking, reported
from leaderboards.compare import compare, together
from leaderboards.differences import Comparison
from leaderboards.entrants import Column
from leaderboards.errors import NotComparable
from leaderboards.forms import Cell, Sheet
from leaderboards.ranking import Cell as Place
from leaderboards.ranking import Matrix
from leaderboards.records import Run
from leaderboards.store import Store

FORMAT = 1
"""Version of the JSON's form."""

PUBLIC = (
    *(
        "run_id",
        "model",
        "model_digest",
        "family",
        "parameters",
        "backend",
        "dtype",
        "quantisation",
        "task",
        "task_digest",
    ),
    *("split", "num_fewshot", "shot_selection", "phrasing", "decoding", "seed", "limit", "n", "n_errors", "created"),
    *("finished", "rescored", "status", "prompt_tokens", "generated_tokens", "questions_per_second", "versions"),
)
"""Fields of a run that are published."""


def leaderboard(matrix: Matrix) -> str:
    """The leaderboard as JSON: columns, rows with cells by column number, and every shown run's protocol."""
    numbers = {column: number for number, column in enumerate(matrix.columns)}
    shown = {cell.run.run_id: cell.run for row in matrix.rows for cell in row.cells.values()}
    held = {
        "format": FORMAT,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "average": ranking.AVERAGE,
        "tests": matrix.tests,
        "columns": [asdict(column) | {"tests": list(matrix.how[column])} for column in matrix.columns],
        "rows": [
            asdict(row.entrant)
            | {
                "protocol": row.entrant.protocol,
                "average": None if row.average is None else asdict(row.average),
                "cells": [_cell(numbers[column], cell) for column, cell in row.cells.items()],
                "missing": [numbers[column] for column in row.missing],
            }
            for row in matrix.rows
        ],
        "runs": [{key: value for key, value in asdict(run).items() if key in PUBLIC} for run in shown.values()],
    }
    return json.dumps(held, ensure_ascii=False, indent=1) + "\n"


def _cell(column: int, cell: Place) -> Mapping[str, Any]:
    score = cell.score
    return {
        "column": column,
        "run": cell.run.run_id,
        **{
            key: getattr(score, key)
            for key in ("value", "low", "high", "stderr", "interval", "n", "n_errors", "n_unparsed", "unit")
        },
        "ranks": cell.ranks,
        "is_best": cell.is_best,
        "is_level": cell.is_level,
    }


def page(store: Store, runs: Sequence[Run]) -> str:
    """The leaderboard, the published scores beside it, comparisons with each task's best, and how the runs were made."""
    matrix = ranking.matrix(store, runs)
    done = [run for run in runs if run.status != "running"]
    beside = [one for run in done for one in reported.beside(run)]
    parts = [
        ("Leaderboard", forms.html(boards.matrix_sheet(matrix))),
        ("Against the first of each task", "".join(_against_first(store, matrix, column) for column in matrix.columns)),
        ("Reported by the authors", forms.html(boards.published_sheet(done, beside)) if beside else ""),
        ("Runs", forms.html(_runs(done))),
    ]
    body = "".join(f"<section><h2>{htmls.escape(name)}</h2>\n{text}</section>\n" for name, text in parts if text)
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    style = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Leaderboard</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<h1>Leaderboard</h1>\n<p>{len(done)} runs, {len(matrix.rows)} rows, {len(matrix.columns)} columns; {made}</p>\n"
        f"{body}</body>\n</html>\n"
    )


def _against_first(store: Store, matrix: Matrix, column: Column) -> str:
    """Every other row of a column against the one with the highest score."""
    files = store.files()
    cells = [row.cells[column] for row in matrix.rows if column in row.cells]
    held = [cell for cell in cells if cell.ranks is not None and cell.run.run_id in files]
    if len(held) < 2:
        return ""
    first, *others = sorted(held, key=lambda cell: -(cell.score.value or 0.0))
    found = together([*_comparable(store, first.run, [cell.run for cell in others], column)])
    if not found:
        return ""
    name = boards.column_name(column, matrix.columns)
    return f"<h3>{htmls.escape(name)}</h3>\n" + forms.html(boards.comparison_sheet(found))


def _comparable(store: Store, first: Run, others: Sequence[Run], column: Column) -> Iterator[Comparison]:
    """The others' comparisons with the first; those that share no question with it have none."""
    for other in others:
        with suppress(NotComparable):
            yield compare(store, first.run_id, other.run_id, metrics=[column.name], slices=[column.slice])


def _runs(runs: Sequence[Run]) -> Sheet:
    columns = (
        "run",
        "status",
        "model",
        "weights",
        "dtype",
        "task",
        "split",
        "shots",
        "wording",
        "decoding",
        "n",
        "made",
    )
    lines = [
        [
            Cell(text)
            for text in (
                run.run_id,
                run.status,
                run.model,
                run.model_digest[:12],
                run.dtype,
                run.task,
                run.split,
                str(run.num_fewshot),
                run.phrasing,
                run.decoding,
                f"{run.n:,}",
                run.created[:10],
            )
        ]
        for run in runs
    ]
    return Sheet(columns, lines, frozenset(("shots", "n")))
