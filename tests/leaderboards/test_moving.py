"""Merging and deleting: everything is looked at first, nothing is lost."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from leaderboards import moving
from leaderboards.errors import BadStore, Conflict, RunLocked
from leaderboards.store import Store
from tests.leaderboards.made import METRIC, finish
from tests.leaderboards.test_store import RUN


def store(path: Path, **runs: list[float]) -> Store:
    made = Store(path)
    for run_id, values in runs.items():
        finish(made, run_id, {METRIC: values})
    return made


def content(path: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != "lock"
    }


def test_runs_of_several_folders_come_together(tmp_path: Path) -> None:
    first, second = store(tmp_path / "1", aaaa=[1.0]), store(tmp_path / "2", bbbb=[0.0], cccc=[1.0])
    before = content(tmp_path / "1") | content(tmp_path / "2")
    target = Store(tmp_path / "all")
    found = moving.merge(target, [first, second])
    assert (sorted(found.brought), found.there) == (["aaaa", "bbbb", "cccc"], [])
    assert content(tmp_path / "all") == before
    assert sorted(run.run_id for run in target.runs()) == ["aaaa", "bbbb", "cccc"]
    again = moving.merge(target, [first, second])
    assert (again.brought, sorted(again.there)) == ([], ["aaaa", "bbbb", "cccc"])


def test_the_same_run_written_in_another_way_is_the_same(tmp_path: Path) -> None:
    first = store(tmp_path / "1", aaaa=[1.0, 0.0])
    shutil.copytree(tmp_path / "1", tmp_path / "2")
    file = tmp_path / "2" / "runs" / "aaaa" / "samples.parquet"
    pq.write_table(pq.read_table(file), file, compression="gzip")
    assert moving.merge(first, [Store(tmp_path / "2")]).there == ["aaaa"]


@pytest.mark.parametrize("where", ["record", "samples"])
def test_the_same_id_with_other_content_is_an_error_and_nothing_is_brought(where: str, tmp_path: Path) -> None:
    target, source = store(tmp_path / "1", aaaa=[1.0, 0.0]), store(tmp_path / "2", aaaa=[1.0, 0.0], bbbb=[1.0])
    if where == "record":
        with source.begin("aaaa") as folder:
            folder.state(replace(source.run("aaaa"), seconds=7.0))
    else:
        finish(source, "aaaa", {METRIC: [0.0, 1.0]})
    before = content(tmp_path / "1"), content(tmp_path / "2")
    with pytest.raises(Conflict, match=r"run aaaa is in .*1 and in .*2 with other content; nothing was brought"):
        moving.merge(target, [source])
    assert (content(tmp_path / "1"), content(tmp_path / "2")) == before


def test_two_sources_with_other_content_are_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(Conflict, match="other content"):
        moving.merge(Store(tmp_path / "all"), [store(tmp_path / "1", aaaa=[1.0]), store(tmp_path / "2", aaaa=[0.0])])
    assert not (tmp_path / "all").exists()


def test_an_unfinished_run_comes_with_its_journal(tmp_path: Path) -> None:
    source = Store(tmp_path / "1")
    with source.begin("aaaa") as folder:
        folder.state(replace(RUN, run_id="aaaa", status="running"))
        folder.journal.append({"id": "s0"})
        with pytest.raises(RunLocked):
            moving.merge(Store(tmp_path / "all"), [source])
    assert not list((tmp_path / "all" / "runs").iterdir())
    moving.merge(Store(tmp_path / "all"), [source])
    with Store(tmp_path / "all").begin("aaaa") as folder:
        assert folder.journal.held == [{"id": "s0"}]


def test_what_is_no_store_or_damaged_is_told_and_nothing_is_brought(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadStore, match="no such folder"):
        moving.merge(Store(tmp_path / "all"), [Store(tmp_path / "nowhere")])
    with pytest.raises(BadStore, match="no runs in it"):
        moving.merge(Store(tmp_path / "all"), [Store(tmp_path / "empty")])
    source = store(tmp_path / "1", aaaa=[1.0], bbbb=[1.0])
    (tmp_path / "1" / "runs" / "bbbb" / "samples.parquet").write_bytes(b"PAR1 half")
    with pytest.raises(BadStore, match=r"bbbb/samples\.parquet: cut or damaged .*nothing was brought"):
        moving.merge(Store(tmp_path / "all"), [source])
    with pytest.raises(BadStore, match="cannot be merged from as well"):
        moving.merge(source, [Store(tmp_path / "1")])
    assert not (tmp_path / "all").exists()


def test_deleted_runs_are_gone_and_the_others_stay(tmp_path: Path) -> None:
    made = store(tmp_path, aaaa=[1.0], bbbb=[1.0])
    moving.delete(made, ["aaaa"])
    assert [run.run_id for run in made.runs()] == ["bbbb"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["bbbb"]


def test_a_run_that_is_being_written_is_not_deleted_nor_any_other(tmp_path: Path) -> None:
    made = store(tmp_path, aaaa=[1.0], bbbb=[1.0])
    with made.begin("bbbb"), pytest.raises(RunLocked):
        moving.delete(made, ["aaaa", "bbbb"])
    assert sorted(run.run_id for run in made.runs()) == ["aaaa", "bbbb"]
