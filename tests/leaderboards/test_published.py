"""The authors' own scores: every row whole, every listed model by a name that exists."""

from __future__ import annotations

from eval_tasks import task
from flamingo_lab import composed, families
from leaderboards import published


def test_every_row_has_a_score_a_benchmark_and_says_where_it_stands() -> None:
    rows = published.scores()
    assert len(rows) == 1139
    for row in rows:
        assert row.benchmark and row.metric and row.printed_as
        assert row.source or not row.is_checked


def test_models_are_listed_ones() -> None:
    listed = {size.name for _, size in families.sizes()} | {one.name for one in composed.all_composed()}
    assert {row.model for row in published.scores()} - {""} <= listed


def test_a_model_has_its_papers_rows() -> None:
    rows = published.of("openflamingo-9b-vitl-mpt7b")
    found = {row.shots: row.score for row in rows if row.task == "vqav2" and row.source == "arXiv 2308.01390 Table 11"}
    assert (found["0"], found["4"]) == (52.7, 54.8)
    assert published.of("OpenFlamingo-9B-vitl-mpt7b") == rows
    assert not published.of("flamingo-tiny")


def test_tasks_that_are_here_are_named_as_here() -> None:
    assert {"chartqa"} <= {row.task for row in published.scores()} & set(task.names())
