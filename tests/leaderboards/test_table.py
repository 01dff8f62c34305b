"""The table as people and programs read it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from leaderboards import table
from leaderboards.records import POINTS, Run
from tests.leaderboards.test_store import RUN, SCORE

PROMISED = {
    *("run_id", "model", "task", "metric", "variant", "slice", "value", "low", "high", "stderr", "n", "n_errors"),
    *("num_fewshot", "seconds", "interval"),
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
    assert len(markdown) == 6
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


MANY = replace(SCORE, value=0.9997, low=0.9991, high=0.9999, n=9673)
TINY = replace(RUN, model="flamingo-tiny", task="shapes-binding", num_fewshot=4, scores=(MANY,))


@pytest.mark.parametrize("limit", [None, 200])
def test_runs_that_were_asked_otherwise_say_how(limit: int | None) -> None:
    shuffled = replace(TINY, run_id="1" * 16, settings={"options": ["shuffle-pictures"]}, limit=limit)
    rows = table.rows([TINY, shuffled])
    said = ", first 200 questions" if limit else ""
    assert [line[3].text for line in table.sheet(rows).lines] == ["4 shots", f"4 shots, shuffle-pictures{said}"]
    held = json.loads(table.text(rows, "json").splitlines()[1])
    assert {key: held[key] for key in ("options", "limit", "decoding", "dtype")} == {
        "options": "shuffle-pictures",
        "limit": limit,
        "decoding": "greedy",
        "dtype": "float32",
    }
    plain = table.sheet(rows[:1])
    assert (plain.columns[3], plain.lines[0][3].text) == ("shots", "4")


def test_runs_of_one_name_are_told_apart_by_their_weights_and_number_formats() -> None:
    other = replace(TINY, run_id="1" * 16, model_digest="abcdef01")
    short = replace(TINY, run_id="2" * 16, dtype="bfloat16", model_digest="bf")
    rounded = replace(TINY, run_id="3" * 16, dtype="bfloat16", quantisation="int8", model_digest="i8")

    def said(*runs: Run) -> list[str]:
        return [line[0].text for line in table.sheet(table.rows(runs)).lines]

    assert said(TINY, replace(TINY, run_id="4" * 16, task="other")) == ["flamingo-tiny"] * 2
    assert said(TINY, other) == ["flamingo-tiny (d)", "flamingo-tiny (abcdef)"]
    assert said(short, rounded) == ["flamingo-tiny (bfloat16)", "flamingo-tiny (bfloat16, int8)"]
    both = ["flamingo-tiny (float32, d)", "flamingo-tiny (float32, abcdef)", "flamingo-tiny (bfloat16)"]
    assert said(TINY, other, short) == both


def test_a_table_says_which_kinds_of_intervals_it_has() -> None:
    wilson, drawn = (replace(TINY, scores=(replace(MANY, interval=kind),)) for kind in ("Wilson", "bootstrap"))
    none = replace(TINY, scores=(replace(MANY, low=None, high=None),))

    def said(*runs: Run) -> str:
        return table.sheet(table.rows(runs)).notes[0]

    assert said(wilson, wilson) == "95 % intervals: Wilson"
    assert said(wilson, replace(drawn, task="t")) == "95 % intervals: Wilson (shapes-binding); bootstrap (t)"
    assert said(none) == "95 % intervals: none"
    assert "not recorded (flab results rescore" in said(TINY)


@pytest.mark.parametrize("width", [60, 80])
def test_a_narrow_terminal_cuts_no_cell(width: int) -> None:
    bad = replace(TINY, run_id="1" * 16, n_errors=3, scores=(replace(MANY, n_errors=3, slice="kind=x"),))
    for runs, dropped in (([TINY], {"slice", "errors", "time", "q/s"}), ([TINY, bad], {"time", "q/s"})):
        stream = io.StringIO()
        rows = table.rows(runs, every_slice=True)
        Console(file=stream, width=width, force_terminal=True, color_system=None).print(table.rich_table(rows))
        said = stream.getvalue()
        assert "…" not in said and max(map(len, said.splitlines())) <= width
        if width == 60 and len(runs) > 1:
            continue  # two columns more than there is room for
        assert all(one in said for one in ("99.97 [99.91, 99.99]", "9,673", *(run.run_id[:8] for run in runs)))
        assert not any(f" {column}" in said for column in dropped)
        assert ("strip-lower" in said) == (width == 80)
