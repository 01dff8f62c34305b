"""Results folders: whole files or none, and one clear line for what cannot be read or written."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

import leaderboards
from leaderboards import journal as journals
from leaderboards import migrations
from leaderboards.errors import BadSchema, BadStore, UnknownRun
from leaderboards.files import write_whole
from leaderboards.journal import Journal
from leaderboards.records import SCHEMA_VERSION, Run, SampleRecord, Score
from leaderboards.store import Store

SCORE = Score("exact_match", "strip-lower", "all", 0.5, 0.1, 0.9, 0.2, n=2)

RUN = Run(
    run_id="0123456789abcdef",
    status="complete",
    created="2024-01-01T00:00:00+00:00",
    command="flab eval",
    model="m",
    model_digest="d",
    family="f",
    parameters=7,
    backend="b",
    dtype="float32",
    task="t",
    task_digest="d",
    split="test",
    num_fewshot=0,
    shot_selection="random",
    phrasing="plain",
    decoding="greedy",
    seed=0,
    limit=None,
    n=2,
    settings={},
    scores=(SCORE,),
)

SAMPLE = SampleRecord(
    run_id=RUN.run_id,
    sample_id="s0",
    document="d0",
    image_digests=["a", "b"],
    image_paths=["a.png", "b.png"],
    question="what?",
    targets=["this", "that"],
    choices=[],
    prompt="<image:a> what?",
    shot_ids=["s7"],
    answer_raw=" this",
    answer="this",
    logprob=-0.5,
    option_logprobs=None,
    scores={"exact_match/strip-lower": 1.0},
    slices={"kind": "human"},
    error_kind=None,
    error=None,
    prompt_tokens=3,
    generated_tokens=2,
    n_images=2,
    seconds=0.1,
    trace=None,
)


def finish(store: Store, run: Run = RUN) -> None:
    with store.begin(run.run_id) as folder:
        folder.finish(run, [SAMPLE, replace(SAMPLE, sample_id="s1", scores={"exact_match/strip-lower": 0.0})])


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    finish(store)
    assert asdict(store.run("0123")) == asdict(RUN)
    found = store.samples(RUN.run_id)
    first = SampleRecord.of_row(found.columns, found.fetchall()[0])
    assert first == SAMPLE
    assert [sample.sample_id for sample in store.wrong(RUN.run_id, "exact_match/strip-lower", 5)] == ["s1"]


def test_any_program_reads_the_samples(tmp_path: Path) -> None:
    finish(Store(tmp_path))
    pattern = str(tmp_path / "runs" / "*" / "samples.parquet")
    (row,) = duckdb.sql(f"select avg(scores['exact_match/strip-lower']), count(*) from '{pattern}'").fetchall()
    assert row == (0.5, 2)


def test_a_folder_that_is_not_there_holds_no_runs(tmp_path: Path) -> None:
    assert Store(tmp_path / "nowhere").runs() == []
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("taken", ["results", "results/runs"])
def test_a_file_in_a_folders_place_is_told(taken: str, tmp_path: Path) -> None:
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).write_text("")
    with pytest.raises(BadStore, match="a file stands where a folder should be"):
        Store(tmp_path / "results")


def test_an_unwritable_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "0").write_text("")
    with pytest.raises(BadStore, match="cannot be written"), Store(tmp_path).begin("0"):
        pass


def test_a_prefix_names_one_run(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store)
    finish(store, replace(RUN, run_id="0123ffff"))
    assert store.run("01234").run_id == RUN.run_id
    with pytest.raises(UnknownRun, match="begins 2 runs"):
        store.run("0123")
    with pytest.raises(UnknownRun, match="no run 'beef'"):
        store.run("beef")


def edited(tmp_path: Path, **changes: Any) -> Store:
    store = Store(tmp_path)
    finish(store)
    file = tmp_path / "runs" / RUN.run_id / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return store


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    store = edited(tmp_path, schema_version=SCHEMA_VERSION + 1)
    with pytest.raises(BadSchema, match=f"schema version {SCHEMA_VERSION + 1}; this version reads up to"):
        store.run("0")
    assert store.runs() == []
    assert f"run.json: schema version {SCHEMA_VERSION + 1}" in store.problems()[0]


def test_a_field_that_a_later_version_adds_is_passed_over(tmp_path: Path) -> None:
    assert edited(tmp_path, colour="red").run("0").run_id == RUN.run_id


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "{not json",
        '{"schema_version": 1, "scores": []}',
        '{"schema_version": "1"}',
        '{"schema_version": 0}',
        '{"schema_version": 2, "scores": 3, "mean_of": null, "settings": 1}',
    ],
)
def test_a_damaged_record_is_told(content: str, tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store)
    (tmp_path / "runs" / RUN.run_id / "run.json").write_text(content)
    with pytest.raises(BadStore, match=r"run\.json: not a"):
        store.run("0")


def test_a_damaged_parquet_file_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store)
    (tmp_path / "runs" / RUN.run_id / "samples.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(BadStore, match=r"samples\.parquet: cut or damaged"):
        store.samples(RUN.run_id).fetchall()


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    write_whole(file, lambda stream: stream.write(b"old"))

    def fail(stream: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(BadStore, match="No space left on device"):
        write_whole(file, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]
    assert file.read_bytes() == b"old"


def test_samples_of_all_runs_are_a_frame_of_pandas(tmp_path: Path) -> None:
    store = Store(tmp_path)
    finish(store)
    finish(store, replace(RUN, run_id="ffff"))
    frame = leaderboards.open(str(tmp_path)).samples().to_pandas()
    assert len(frame) == 4 and frame.equals(leaderboards.open(tmp_path).samples().df())
    assert list(frame.columns) == list(SampleRecord.__dataclass_fields__)
    assert frame.scores[0] == {"exact_match/strip-lower": 1.0}
    assert leaderboards.open(tmp_path).samples("0123456789abcdef").filter("sample_id = 's1'").fetchall()


def test_samples_of_no_run_are_an_empty_frame(tmp_path: Path) -> None:
    frame = leaderboards.open(tmp_path).samples().to_pandas()
    assert frame.empty and list(frame.columns) == list(SampleRecord.__dataclass_fields__)


def test_a_record_of_version_1_is_read(tmp_path: Path) -> None:
    store = edited(tmp_path, schema_version=1)
    file = tmp_path / "runs" / RUN.run_id / "run.json"
    held = json.loads(file.read_text())
    del held["mean_of"], held["rescored"]
    file.write_text(json.dumps(held))
    found = store.run("0")
    assert (found.schema_version, found.mean_of, found.rescored) == (SCHEMA_VERSION, (), None)
    assert found.settings == {"chosen_decoding": None}


def test_a_record_of_version_3_does_not_say_which_intervals_it_has(tmp_path: Path) -> None:
    store = edited(tmp_path, schema_version=3)
    file = tmp_path / "runs" / RUN.run_id / "run.json"
    held = json.loads(file.read_text())
    for score in held["scores"]:
        del score["interval"]
    file.write_text(json.dumps(held))
    found = store.run("0")
    assert found.schema_version == SCHEMA_VERSION
    assert [(one.value, one.interval) for one in found.scores] == [(SCORE.value, None)]


def test_a_run_is_running_while_a_process_is_at_it_and_stopped_otherwise(tmp_path: Path) -> None:
    store = Store(tmp_path)
    begun = replace(RUN, status="running", scores=(), finished=None, n=5)
    with store.begin(RUN.run_id) as folder:
        folder.state(begun)
        folder.journal.append({"id": "0"})
        assert str(store.standing(begun)) == "running, 1 of 5 questions answered"
    assert store.standing(begun).status == "stopped"
    with store.begin(RUN.run_id) as folder:
        folder.finish(RUN, [SAMPLE])
    assert str(store.standing(RUN)) == "complete"


def test_every_older_version_has_a_step_to_the_next() -> None:
    assert list(migrations.STEPS) == list(range(1, SCHEMA_VERSION))


def test_nobody_who_appends_waits_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits, is_over = threading.Event(), threading.Event()
    waiting: set[int] = set()

    def slow(descriptor: int) -> None:
        waiting.add(threading.get_ident())
        waits.set()
        assert is_over.wait(30)

    monkeypatch.setattr(journals, "SYNC_SECONDS", 0.01)
    monkeypatch.setattr(os, "fsync", slow)
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append({"id": "0"})
        assert waits.wait(30), "the disk is waited for while nobody appends"
        journal.append({"id": "1"})
        kept = Journal(journal.path).held
        is_over.set()
    assert kept == [{"id": "0"}, {"id": "1"}], "a kill loses nothing"
    assert threading.get_ident() not in waiting


@pytest.mark.parametrize("then", ["append", "sync", "close"])
def test_what_the_disk_refuses_later_is_told(then: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = threading.Event()

    def full(descriptor: int) -> None:
        if not refused.is_set():  # the operating system tells it once
            refused.set()
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(journals, "SYNC_SECONDS", 0.01)
    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(BadStore, match=r"journal\.jsonl: cannot be written \(No space left on device\)"),
        Journal(tmp_path / "journal.jsonl") as journal,
    ):
        journal.append({"id": "0"})
        assert refused.wait(30)
        time.sleep(0.05)
        if then == "append":
            journal.append({"id": "1"})
        elif then == "sync":
            journal.sync()
