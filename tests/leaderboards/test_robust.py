"""Damaged, half-copied, locked, forbidden and huge: named in one line, and the rest stays readable."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from leaderboards import compare, ranking
from leaderboards.errors import BadStore, RunLocked
from leaderboards.store import Store
from tests.leaderboards.made import METRIC, drawn, finish

NOBODY = 65534


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    for model, share in (("aaaa", 0.2), ("bbbb", 0.9), ("cccc", 0.5)):
        finish(made, model, {METRIC: drawn(1, 300, share)}, model=model, model_digest=model)
    return made


def samples_file(store: Store, run_id: str) -> Path:
    return store.path / "runs" / run_id / "samples.parquet"


def damage_the_middle(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4:400] = bytes(396)
    file.write_bytes(content)


@pytest.mark.parametrize("bytes_there", [0, 3, 11, 500, -1])
def test_a_half_copied_file_is_named_and_the_rest_is_read(bytes_there: int, store: Store) -> None:
    file = samples_file(store, "bbbb")
    whole = file.read_bytes()
    file.write_bytes(whole[:bytes_there])
    (problem,) = store.problems()
    assert problem.startswith(f"{file}: cut or damaged") and "\n" not in problem
    assert {*store.samples().to_pandas().run_id} == {"aaaa", "cccc"}
    assert ranking.matrix(store).rows[0].run.run_id == "bbbb"
    with pytest.raises(BadStore, match="cut or damaged"):
        compare.compare(store, "a", "b")
    file.write_bytes(whole)  # the copy ends
    assert store.problems() == [] and len(store.samples().to_pandas()) == 900


def test_a_file_damaged_in_its_middle_is_found_when_it_is_read(store: Store) -> None:
    damage_the_middle(samples_file(store, "bbbb"))
    assert store.problems() == []
    with pytest.raises(BadStore, match=r"bbbb/samples\.parquet: not readable as Parquet"):
        store.samples().to_pandas()
    assert "not readable to its end" in store.problems()[0]
    assert {*store.samples().to_pandas().run_id} == {"aaaa", "cccc"}


def test_a_leaderboard_with_a_damaged_file_tests_the_others(store: Store) -> None:
    damage_the_middle(samples_file(store, "cccc"))
    found = ranking.matrix(store)
    (column,) = found.columns
    assert [row.cells[column].ranks for row in found.rows] == [(1, 1), (2, 2), (3, 3)]
    assert found.how[column] == ["McNemar, exact", "unpaired, from the standard errors"]
    assert len(store.problems()) == 1


def test_a_finished_run_without_its_samples_is_named(store: Store) -> None:
    samples_file(store, "bbbb").unlink()
    assert "the samples of run bbbb are gone" in store.problems()[0]
    assert {*store.samples().to_pandas().run_id} == {"aaaa", "cccc"}


def test_a_file_among_the_runs_is_passed_over(store: Store) -> None:
    (store.path / "runs" / "notes.txt").write_text("mine")
    (store.path / "runs" / "empty").mkdir()
    assert len(store.runs()) == 3 and store.problems() == []


def test_several_writers_and_readers_at_once(tmp_path: Path) -> None:
    """Every reader sees whole runs only, whatever the writers are doing."""
    store = Store(tmp_path)
    values = drawn(1, 300, 0.5)

    def write(number: int) -> None:
        for _ in range(3):
            finish(Store(tmp_path), f"{number:04}", {METRIC: values})

    def read() -> int:
        reader, most = Store(tmp_path), 0
        while most < 8:
            runs = reader.runs()
            counts = reader.samples().relation.aggregate("run_id, count(*)", "run_id").fetchall()
            assert {count for _, count in counts} <= {300} and reader.problems() == []
            assert len(runs) >= most
            most = len(counts)
        return most

    with ThreadPoolExecutor(10) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        writers = [pool.submit(write, number) for number in range(8)]
        assert [writer.result() for writer in writers] == [None] * 8
        assert [reader.result(timeout=60) for reader in readers] == [8, 8]
    assert len(store.runs()) == 8
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_url_is_no_folder() -> None:
    with pytest.raises(BadStore, match="runs are made in a folder; flab results merge DIR --results URL"):
        Store(Path("s3://team/flab"))


def test_two_writers_of_one_run_exclude_each_other(store: Store) -> None:
    with store.begin("aaaa"), pytest.raises(RunLocked, match="is being written by process"):
        finish(Store(store.path), "aaaa", {METRIC: [1.0]})
    assert store.run("aaaa").n == 300


@contextmanager
def as_nobody() -> Generator[None]:
    """Without root's rights, which no file resists."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.fixture
def forbidden(store: Store) -> Generator[Path]:
    """A copy of the store at a place that anybody can reach."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        shutil.copytree(store.path / "runs", root / "runs")
        root.chmod(0o755)
        yield root
        for path in (root / "runs", root / "runs" / "bbbb", root / "runs" / "bbbb" / "run.json"):
            path.chmod(0o755)


def test_a_folder_without_permission_is_told(forbidden: Path) -> None:
    (forbidden / "runs").chmod(0)
    with as_nobody(), pytest.raises(BadStore, match=r"cannot be read .Permission denied.; choose another"):
        Store(forbidden).runs()
    with as_nobody(), pytest.raises(BadStore, match=r"cannot be read .Permission denied.; choose another"):
        Store(forbidden / "runs" / "below")


@pytest.mark.parametrize("which", ["bbbb", "bbbb/run.json", "bbbb/samples.parquet"])
def test_a_run_without_permission_is_named_and_the_rest_is_read(which: str, forbidden: Path) -> None:
    (forbidden / "runs" / which).chmod(0)
    with as_nobody():
        store = Store(forbidden)
        assert "bbbb" in store.problems()[0] and "ermission denied" in store.problems()[0]
        assert {*store.samples().to_pandas().run_id} == {"aaaa", "cccc"}


def test_a_folder_that_cannot_be_written_is_told(forbidden: Path) -> None:
    with as_nobody(), pytest.raises(BadStore, match=r"cannot be written .Permission denied."):
        finish(Store(forbidden), "dddd", {METRIC: [1.0]})


def test_an_answer_of_ten_megabytes_is_kept_whole_and_hinders_nobody(store: Store) -> None:
    long = "so " * 3_500_000
    values = drawn(2, 300, 0.5)
    finish(store, "dddd", {METRIC: values}, changes={7: {"answer": long, "answer_raw": long, "prompt": long}})
    (row,) = store.samples("dddd").filter("sample_id = 's7'").select("answer", "prompt").fetchall()
    assert row == (long, long)
    found = compare.compare(store, "a", "d").of(METRIC)
    assert found.n == 300
    assert len(compare.differing(store, "a", "d", METRIC, limit=500)) == found.wins + found.losses


def test_a_record_whose_id_leads_elsewhere_is_left_out(store: Store) -> None:
    file = store.path / "runs" / "bbbb" / "run.json"
    file.write_text(file.read_text().replace('"run_id": "bbbb"', '"run_id": "../../bbbb"'))
    assert {run.run_id for run in store.runs()} == {"aaaa", "cccc"}
    assert "bbbb/run.json: the record of another run, '../../bbbb'" in store.problems()[0]
    with pytest.raises(BadStore, match="the record of another run"):
        store.run("bbbb")


@pytest.mark.parametrize(
    "wrong",
    [{"created": None}, {"settings": None}, {"model": None}, {"seconds": "long"}, {"scores": [{"value": "0.5"}]}],
)
def test_a_record_of_wrong_kinds_is_named_and_the_rest_is_read(wrong: dict[str, Any], store: Store) -> None:
    file = store.path / "runs" / "bbbb" / "run.json"
    held = json.loads(file.read_text())
    if "scores" in wrong:
        wrong = {"scores": [held["scores"][0] | wrong["scores"][0]]}
    file.write_text(json.dumps(held | wrong))
    assert {run.run_id for run in store.runs()} == {"aaaa", "cccc"}
    assert [row.run.run_id for row in ranking.matrix(store).rows] != []
    (problem,) = store.problems()
    name = "value" if "scores" in wrong else next(iter(wrong))
    assert f"bbbb/run.json: not a run's record ({name}: " in problem


def test_whole_numbers_are_numbers_too(store: Store) -> None:
    file = store.path / "runs" / "bbbb" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"seconds": 3}))
    assert store.run("bbbb").seconds == 3 and store.problems() == []
