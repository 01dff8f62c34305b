"""The table as people and programs read it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

from rich.console import Console

from leaderboards import table
from leaderboards.records import POINTS
from tests.leaderboards.test_store import RUN, SCORE

PROMISED = {
    *("run_id", "model", "task", "metric", "variant", "slice", "value", "low", "high", "stderr", "n", "n_errors"),
    *("num_fewshot", "seconds"),
}
"""Fields that programs rely on."""

NARROW = replace(SCORE, value=0.99969, low=0.99905, high=0.9999)


def test_a_score_has_as_many_digits_as_its_interval_deserves() -> None:
    rows = table.rows([RUN, replace(RUN, scores=(NARROW,)), replace(RUN, scores=(replace(SCORE, value=None),))])
    assert [table.shown(row) for row in rows] == ["50.0 [10.0, 90.0]", "99.97 [99.91, 99.99]", "–"]


def test_points_and_scores_without_an_interval_are_shown_as_they_stand() -> None:
    points = replace(SCORE, value=1531.32, low=1410.37, high=1656.1, unit=POINTS)
    bare = replace(SCORE, value=0.3769, low=None, high=None)
    assert [table.shown(one) for one in (points, bare)] == ["1531.3 [1410.4, 1656.1]", "37.7"]


def test_every_form_holds_the_same_rows() -> None:
    rows = table.rows([RUN, replace(RUN, model="other|model")], every_slice=True)
    (first, second) = [json.loads(line) for line in table.text(rows, "json").splitlines()]
    assert (first["model"], second["model"]) == ("m", "other|model")
    assert first.keys() >= PROMISED
    parsed = list(csv.DictReader(io.StringIO(table.text(rows, "csv"))))
    assert [float(row["value"]) for row in parsed] == [0.5, 0.5]
    markdown = table.text(rows, "md").splitlines()
    assert len(markdown) == 4
    assert "other\\|model" in markdown[3]


def test_a_spreadsheet_gets_no_formula() -> None:
    rows = table.rows([replace(RUN, model="=HYPERLINK(1)")])
    (parsed,) = csv.DictReader(io.StringIO(table.text(rows, "csv")))
    assert parsed["model"] == "'=HYPERLINK(1)"


def test_a_terminal_shows_text_and_never_reads_it_as_markup() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=160)
    console.print(table.rich_table(table.rows([replace(RUN, model="[red]m[/red]")])))
    assert "[red]m[/red]" in stream.getvalue()
    assert "50.0 [10.0, 90.0]" in stream.getvalue()


def test_splits_of_one_task_are_told_apart() -> None:
    rows = table.rows([replace(RUN, split="testA"), replace(RUN, split="testB"), replace(RUN, task="other")])
    assert [line[1].text for line in table.sheet(rows).lines] == ["t:testA", "t:testB", "other"]
    assert [line[1].text for line in table.sheet(rows[1:]).lines] == ["t", "other"]
    assert [json.loads(line)["split"] for line in table.text(rows, "json").splitlines()] == [
        "testA",
        "testB",
        RUN.split,
    ]
