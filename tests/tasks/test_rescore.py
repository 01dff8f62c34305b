"""Stored answers under the present metrics."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from eval_tasks import runner, task
from eval_tasks.errors import MissingData
from eval_tasks.plan import Settings
from eval_tasks.rescore import rescore
from leaderboards.errors import BadStore
from leaderboards.records import Run, SampleRecord
from leaderboards.store import Store
from tests.doubles import Scripted
from tests.tasks import charts


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return charts.write(tmp_path / "data")


@pytest.fixture
def run(data: Path, tmp_path: Path) -> Run:
    return runner.run(Scripted(), task.get("chartqa"), Settings(data=data), Store(tmp_path / "results"))


def samples(store: Store, run: Run) -> list[SampleRecord]:
    found = store.samples(run.run_id)
    return [SampleRecord.of_row(found.columns, row) for row in found.fetchall()]


def test_the_same_metrics_change_nothing(run: Run, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    found = rescore(store, run.run_id[:6])
    assert (found.n_changed, found.aside, found.after) == (0, None, run)
    assert store.run(run.run_id) == run
    assert not list((tmp_path / "results" / "runs" / run.run_id).glob("before-*"))


def test_scores_of_a_corrected_metric_come_in_and_the_old_ones_stay_aside(run: Run, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    held = samples(store, run)
    wrong = [replace(one, scores={"relaxed_accuracy/pix2struct": 0.25}) for one in held]
    with store.begin(run.run_id) as folder:
        folder.finish(replace(run, scores=()), wrong)
    found = rescore(store, run.run_id)
    assert found.n_changed == len(held)
    assert found.after.scores == run.scores and found.after.rescored is not None
    assert samples(store, run) == held
    assert store.run(run.run_id) == found.after
    aside = found.aside
    assert aside is not None and aside.name == "before-1" and (aside / "samples.parquet").is_file()
    assert Run.from_json((aside / "run.json").read_text(), "aside").scores == ()
    assert [one.run_id for one in store.runs()] == [run.run_id]


def test_a_rescore_that_was_killed_between_its_two_files_is_ended_by_the_next(run: Run, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    with store.begin(run.run_id) as folder:
        folder.state(replace(run, scores=()))  # the samples are new, the record is old
    found = rescore(store, run.run_id)
    assert found.n_changed == 0 and found.aside is not None
    assert store.run(run.run_id).scores == run.scores


def test_an_older_record_learns_which_intervals_it_has(run: Run, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    kinds = {one.slice: one.interval for one in run.scores[:3]}
    assert kinds["all"] == "MOVER, mean of parts" and {*kinds.values()} > {"MOVER, mean of parts"}
    with store.begin(run.run_id) as folder:
        folder.state(replace(run, scores=[replace(one, interval=None) for one in run.scores]))
    found = rescore(store, run.run_id)
    assert found.n_changed == 0 and store.run(run.run_id).scores == run.scores


def test_without_the_files_the_stored_targets_are_taken(run: Run, data: Path, tmp_path: Path) -> None:
    shutil.rmtree(data)
    assert rescore(Store(tmp_path / "results"), run.run_id).n_changed == 0


def test_files_that_lack_a_question_are_refused(run: Run, tmp_path: Path) -> None:
    other = charts.write(tmp_path / "other")
    for kind in ("human", "augmented"):
        (other / "ChartQA Dataset" / "test" / f"test_{kind}.json").write_text(
            '[{"imgname": "human-0.png", "query": "q", "label": "1"}]'.replace("human", kind)
        )
    with pytest.raises(MissingData, match="5 of the run's questions"):
        rescore(Store(tmp_path / "results"), run.run_id, other)


def test_a_run_that_goes_on_is_refused(run: Run, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    with store.begin(run.run_id) as folder:
        folder.state(replace(run, status="running"))
    with pytest.raises(BadStore, match="is not finished"):
        rescore(store, run.run_id)
