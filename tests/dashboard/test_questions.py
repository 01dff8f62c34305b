"""What the pages ask of the samples, on real files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dashboard import questions
from dashboard.questions import Filter
from leaderboards.errors import BadStore
from leaderboards.store import Store
from tests.dashboard import made

ALL = Filter(made.METRIC)


@pytest.fixture
def results(tmp_path: Path) -> Store:
    made.two_models(tmp_path)
    made.failed(tmp_path)
    return Store(tmp_path)


def count(results: Store, wanted: Filter, run: str = "a" * 16) -> int:
    rows = questions.listed(results, run, wanted)
    assert len(rows) == (rows[0]["found"] if rows else 0)
    return len(rows)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (ALL, 60),
        (replace(ALL, verdict="right"), 40),
        (replace(ALL, verdict="wrong"), 20),
        (replace(ALL, verdict="part"), 0),
        (replace(ALL, slice="kind", value="odd"), 30),
        (replace(ALL, verdict="wrong", slice="kind", value="odd"), 10),
        (replace(ALL, text="THING 1"), 11),
        (replace(ALL, text="green"), 20),
        (replace(ALL, text="100%_'"), 0),
        (replace(ALL, low=0.5), 40),
        (replace(ALL, high=0.5), 20),
        (replace(ALL, short=4), 20),
        (replace(ALL, long=3), 40),
    ],
)
def test_each_filter_keeps_what_passes_it(wanted: Filter, found: int, results: Store) -> None:
    assert count(results, wanted) == found


def test_questions_without_an_answer_and_unreadable_ones_are_found(results: Store) -> None:
    assert count(results, replace(ALL, verdict="error"), "d" * 16) == 10
    assert count(results, replace(ALL, kind="BadImage"), "d" * 16) == 10
    assert count(results, replace(ALL, verdict="unread"), "d" * 16) == 1
    assert count(results, replace(ALL, kind="no letter"), "d" * 16) == 1


def test_a_list_goes_on_where_the_one_before_ended(tmp_path: Path) -> None:
    made.two_models(tmp_path, count=450)
    pages = [questions.listed(Store(tmp_path), "a" * 16, ALL, skip) for skip in (0, 200, 400)]
    assert [len(page) for page in pages] == [200, 200, 50]
    assert [row["sample_id"] for page in pages for row in page] == [f"q{number:05}" for number in range(450)]
    assert {row["found"] for page in pages for row in page} == {450}


def test_the_picture_of_a_line_is_the_questions_own(tmp_path: Path) -> None:
    run_id = made.with_pictures(tmp_path / "results", tmp_path / "images")
    rows = questions.listed(Store(tmp_path / "results"), run_id, ALL)
    assert [row["path"] for row in rows] == ["1.png", "2.png", "3.png"]


def test_a_long_answer_is_cut_until_the_whole_is_asked_for(tmp_path: Path) -> None:
    run_id = made.long_answer(tmp_path, 10_000_000)
    row = questions.one(Store(tmp_path), run_id, "q00000")
    assert row is not None
    assert len(row["answer"]) == questions.SHOWN_CHARACTERS + 1
    assert row["answer_length"] == 9_999_999
    whole = questions.one(Store(tmp_path), run_id, "q00000", whole=True)
    assert whole is not None
    assert len(whole["answer"]) == questions.MOST_CHARACTERS
    assert len(questions.listed(Store(tmp_path), run_id, ALL)[0]["answer"]) == 200


def test_other_runs_answers_to_a_question(results: Store) -> None:
    found = questions.others(results, ["b" * 16, "d" * 16, "0" * 16], "q00005", made.METRIC)
    assert {row["run_id"]: row["answer"] for row in found} == {"b" * 16: "blue", "d" * 16: None}


def test_faults_are_counted_by_kind(results: Store) -> None:
    found = {(row["fault"], row["kind"]): row["times"] for row in questions.faults(results, ["a" * 16, "d" * 16])}
    assert found == {("error", "BadImage"): 10, ("unread", "no letter"): 1}


def test_a_question_that_several_metrics_cannot_read_counts_once_and_is_found(tmp_path: Path) -> None:
    run_id = "1" * 16
    problems = [{made.METRIC: "no letter", "other/one": "no letter"}, {"other/one": "no number"}, {}]
    samples = [made.sample(run_id, number, problems=problems[number % 3]) for number in range(30)]
    made.write(tmp_path, made.run(run_id, samples), samples)
    store = Store(tmp_path)
    found = {row["kind"]: row["times"] for row in questions.faults(store, [run_id])}
    assert found == {"no letter": 10, "no number": 10}
    for kind, times in found.items():
        assert count(store, replace(ALL, verdict="unread", kind=kind), run_id) == times


def test_a_damaged_file_is_told_in_one_line(results: Store) -> None:
    file = results.path / "runs" / ("a" * 16) / "samples.parquet"
    file.write_bytes(b"PAR1 half")
    with pytest.raises(BadStore, match=r"samples\.parquet: (not readable|cut)") as told:
        questions.listed(results, "a" * 16, ALL)
    assert "\n" not in str(told.value)


def test_a_run_that_is_not_there_has_no_questions(results: Store) -> None:
    assert questions.listed(results, "../../etc", ALL) == []
    assert questions.one(results, "0" * 16, "q0") is None
    assert questions.faults(results, ["0" * 16]) == []
