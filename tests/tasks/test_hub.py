"""Data sets of the hub: large ones in flat memory, at a pinned revision, without a network."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub.utils import filter_repo_objects
from PIL import Image as Pillow

from eval_tasks import groups, parquet, runner, task
from eval_tasks import plan as plans
from eval_tasks.errors import MissingData, UnknownTask
from eval_tasks.plan import Settings
from eval_tasks.rescore import rescore
from eval_tasks.task import Hub
from leaderboards.store import Store
from tests.doubles import Scripted
from tests.folders import ROOT
from tests.tasks.benchmarks import BUILDERS, FILES, HUB, captions, choices, questions, stored
from tests.tasks.benchmarks import parquet as write_rows
from tests.tasks.benchmarks.questions import people
from tests.tasks.hub_server import served

assert captions and choices and questions  # they register their builders

PINNED = (task.get("docvqa").hub or Hub("")).revision or ""

ROWS = 3_000
GROUP = 100
SIDE_PX = 130
"""A picture of noise is some 50 kB, so a data set of that many rows has 150 MB of pictures."""


def large(folder: Path, rows: int) -> int:
    """A validation split of VQAv2's form, in groups of rows; the bytes of its pictures."""
    noise = np.random.default_rng(0)
    (folder / "data").mkdir(parents=True)
    size = 0
    writer: pq.ParquetWriter | None = None
    for start in range(0, rows, GROUP):
        group: list[dict[str, Any]] = []
        for number in range(start, start + GROUP):
            stream = io.BytesIO()
            Pillow.fromarray(noise.integers(0, 256, (SIDE_PX, SIDE_PX, 3), np.uint8)).save(stream, "PNG")
            size += len(stream.getvalue())
            group.append(
                {
                    "question_id": number,
                    "image_id": number,
                    "question": f"how much is {number}?",
                    "question_type": "what",
                    "answer_type": "other",
                    "answers": people(str(number)),
                    "image": {"bytes": stream.getvalue(), "path": f"{number}.png"},
                }
            )
        table = pa.Table.from_pylist(group)
        writer = writer or pq.ParquetWriter(folder / "data" / "validation-00000-of-00001.parquet", table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    return size


def peak(folder: Path, results: Path) -> tuple[int, float]:
    command = [sys.executable, "-m", "tests.tasks.plan_of_parquet", str(folder), str(results)]
    n, mebibytes = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split()
    return int(n), float(mebibytes)


def test_memory_stays_flat_however_many_pictures_there_are(tmp_path: Path) -> None:
    few, many = tmp_path / "few", tmp_path / "many"
    more_bytes = large(many, ROWS) - large(few, ROWS // 10)
    n, least = peak(few, tmp_path / "r1")
    assert n == ROWS // 10
    n, most = peak(many, tmp_path / "r2")
    assert n == ROWS
    assert more_bytes > 100 * 2**20
    assert (most - least) * 2**20 < more_bytes / 3, "questions and answers, and the pictures of two groups of rows"


def test_a_group_of_rows_is_read_once_in_the_order_of_the_questions(tmp_path: Path) -> None:
    large(tmp_path, 3 * GROUP)
    parquet._group.cache_clear()
    for sample in task.get("vqav2").samples("val", tmp_path):
        assert sample.images[0].digest
    assert parquet._group.cache_info().misses == 3


def test_examples_are_looked_at_in_the_order_of_their_files(tmp_path: Path) -> None:
    large(tmp_path, 3 * GROUP)
    questions, pool = tmp_path / "data" / "validation-00000-of-00001.parquet", tmp_path / "data" / "train.parquet"
    rows = pq.read_table(questions).to_pylist()
    moved = [{**row, "question_id": 10_000 + row["question_id"], "image_id": 10_000 + row["image_id"]} for row in rows]
    for row in moved:
        stream = io.BytesIO()
        Pillow.new("RGB", (9, 9), (row["question_id"] % 256, row["question_id"] // 256, 0)).save(stream, "PNG")
        row["image"] = {"bytes": stream.getvalue(), "path": "a.png"}
    pq.write_table(pa.Table.from_pylist(moved), pool, row_group_size=GROUP)
    parquet._group.cache_clear()
    made = plans.plan(Scripted(), task.get("vqav2"), Settings(data=tmp_path, num_fewshot=4))
    assert len({shot.id for asked in made.asked for shot in asked.shots}) > 2 * GROUP
    # Three groups of questions, three of examples, and maybe the first again, whose reading ahead those interrupted.
    assert parquet._group.cache_info().misses in (6, 7)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache with two revisions of a data set, `main` being the newer one."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    cached = tmp_path / "datasets--lmms-lab--DocVQA"
    for revision in ("a" * 40, "b" * 40, PINNED):
        BUILDERS["docvqa", HUB](cached / "snapshots" / revision)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("b" * 40)
    return cached


def test_a_pinned_revision_is_read_and_no_other(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = task.get("docvqa")
    for revision, name in ((None, "b" * 40), ("a" * 40, "a" * 40), (PINNED, PINNED)):
        monkeypatch.setattr(type(found), "hub", Hub("lmms-lab/DocVQA", "DocVQA", {"val": "validation"}, revision))
        assert parquet.folder(found.hub or Hub("")) == cache / "snapshots" / name
        assert found.version(None) == f"lmms-lab/DocVQA@{name}"
        assert found.samples("val", None)
    monkeypatch.setattr(type(found), "hub", Hub("lmms-lab/DocVQA", "DocVQA", {"val": "validation"}, "c" * 40))
    with pytest.raises(MissingData, match=f"hf download --repo-type dataset lmms-lab/DocVQA --revision {'c' * 40}"):
        found.samples("val", None)


SHOTS = "HuggingFaceM4/DocumentVQA"
PINNED_SHOTS = ((task.get("docvqa").hub or Hub("")).shots or Hub("")).revision or ""


def pages_for_shots(folder: Path, number: int, parts: int) -> str:
    """One of the files of DocVQA's train split, in another data set than val's; its name."""
    name = f"data/train-{number:05d}-of-{parts:05d}.parquet"
    row = questions.DOCVQA | {"questionId": number, "ucsf_document_id": f"page{number}", "image": stored(50 + number)}
    write_rows(folder / name, [row])
    return name


def test_shots_of_another_data_set(cache: Path, tmp_path: Path) -> None:
    settings = Settings(num_fewshot=1)
    with pytest.raises(UnknownTask, match=f"no split to take shots from: .* hf download --repo-type dataset {SHOTS}"):
        plans.plan(Scripted(), task.get("docvqa"), settings)
    cached = cache.with_name(f"datasets--{SHOTS.replace('/', '--')}")
    pages_for_shots(cached / "snapshots" / PINNED_SHOTS, 0, 1)
    (asked,) = plans.plan(Scripted(), task.get("docvqa"), settings).asked
    assert [shot.document for shot in asked.shots] == ["page0"]
    made = runner.run(Scripted(), task.get("docvqa"), settings, Store(tmp_path / "results"))
    assert made.versions["data"] == f"lmms-lab/DocVQA@{PINNED}, {SHOTS}@{PINNED_SHOTS}"
    made = runner.run(Scripted(), task.get("docvqa"), Settings(), Store(tmp_path / "results"))
    assert made.versions["data"] == f"lmms-lab/DocVQA@{PINNED}", "its shots are not read"


def test_shots_in_the_folder_of_a_data_set_come_first(tmp_path: Path) -> None:
    BUILDERS["docvqa", HUB](tmp_path)
    pages_for_shots(tmp_path, 0, 1)
    assert [one.document for one in task.get("docvqa").samples("train", tmp_path)] == ["page0"]
    write_rows(tmp_path / "DocVQA" / "train-00000-of-00001.parquet", [questions.DOCVQA | {"image": stored(1)}])
    assert [one.document for one in task.get("docvqa").samples("train", tmp_path)] == ["abcd0001"]


def test_a_split_that_the_data_set_lacks_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    found = task.get("vqav2")
    assert found.hub and found.hub.lacks == ("train",)
    BUILDERS["vqav2", HUB](tmp_path / "datasets--lmms-lab--VQAv2" / "snapshots" / str(found.hub.revision))
    assert found.samples("val", None)
    lacking = (
        r"vqav2: no data of the train split, which lmms-lab/VQAv2 lacks; point --data to a folder with the questions"
    )
    with pytest.raises(UnknownTask, match=f"no split to take shots from: {lacking}") as caught:
        plans.plan(Scripted(), found, Settings(num_fewshot=1))
    assert "hf download" not in str(caught.value), "it would fetch nothing"
    asked: list[str] = []
    monkeypatch.setattr(parquet, "fetch", lambda hub, splits: asked.extend(splits))
    found.fetch(["val", "train"])
    assert asked == ["val"]
    BUILDERS["vqav2", HUB](tmp_path / "own")
    for file in (tmp_path / "own").rglob("validation-*"):
        file.rename(file.with_name(file.name.replace("validation", "train")))
    assert found.samples("train", tmp_path / "own"), "a folder may have it"


def test_a_task_at_a_revision(cache: Path, tmp_path: Path) -> None:
    (found,) = groups.expand(f"docvqa:val@{'a' * 40}")
    assert found.split == "val"
    assert task.get("docvqa").version(None) == f"lmms-lab/DocVQA@{PINNED}", "the task itself is as it was"
    made = runner.run(Scripted(), found.task, Settings(), Store(tmp_path / "results"))
    assert made.versions["data"] == f"lmms-lab/DocVQA@{'a' * 40}"
    assert task.as_read("docvqa", made.versions["data"]).version(None) == made.versions["data"]
    shutil.rmtree(cache / "snapshots" / ("a" * 40))
    with pytest.raises(
        MissingData, match=f"--revision {'a' * 40}; the cache has another revision, which docvqa@main reads$"
    ):
        found.task.samples("val", None)
    assert groups.single("docvqa@main").task.version(None) == f"lmms-lab/DocVQA@{'b' * 40}"
    with pytest.raises(MissingData, match="a revision is one of the hub"):
        found.task.samples("val", tmp_path)
    for name, said in {"easy-vqa@main": "has no data set on the hub", "docvqa@": "is expected behind @"}.items():
        with pytest.raises(UnknownTask, match=said):
            groups.single(name)


def test_a_rescore_reads_the_revision_of_its_run(cache: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    (found,) = groups.expand(f"docvqa@{'a' * 40}")
    made = runner.run(Scripted(), found.task, Settings(), store)
    shutil.rmtree(cache / "snapshots" / PINNED)
    BUILDERS["docvqa", HUB](cache / "snapshots" / PINNED)
    (file,) = (cache / "snapshots" / PINNED).rglob("*.parquet")
    rows = pq.read_table(file).to_pylist()
    write_rows(file, [row | {"answers": ["another"]} for row in rows])
    assert rescore(store, made.run_id).aside is None, "nothing changes"


def test_a_run_records_the_revision_that_it_read(cache: Path, tmp_path: Path) -> None:
    made = runner.run(Scripted(), task.get("docvqa"), Settings(), Store(tmp_path / "results"))
    assert made.versions["data"] == f"lmms-lab/DocVQA@{PINNED}"
    made = runner.run(
        Scripted(), task.get("docvqa"), Settings(data=cache / "snapshots" / ("a" * 40), limit=1), Store(tmp_path / "r")
    )
    assert "data" not in made.versions, "a folder has no revision"


FETCH = """
from eval_tasks import task
found = task.get("docvqa")
found.fetch(["val", "train"])
print(len(found.samples("val", None)), len(found.samples("train", None)), found.version(None, ["val", "train"]))
"""
READ = FETCH.replace('found.fetch(["val", "train"])', "")


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    held = {**os.environ, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1", **environment}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=held, capture_output=True, check=False, text=True)


def test_what_is_fetched_is_what_the_splits_need_and_serves_without_a_network(tmp_path: Path) -> None:
    BUILDERS["docvqa", HUB](tmp_path / "there")
    for name in ("README.md", "DocVQA/test-00000-of-00001.parquet", "InfographicVQA/validation-00000-of-00001.parquet"):
        (tmp_path / "there" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "there" / name).write_bytes(b"not wanted")
    home = str(tmp_path / "home")
    parts = [pages_for_shots(tmp_path / "shots", number, 2) for number in range(2)]
    revisions = {"lmms-lab/DocVQA": PINNED, SHOTS: PINNED_SHOTS}
    with served({"lmms-lab/DocVQA": tmp_path / "there", SHOTS: tmp_path / "shots"}, revisions) as (address, sent):
        made = python(FETCH, HF_ENDPOINT=address, HF_HOME=home)
    assert made.stdout.split() == ["1", "2", f"lmms-lab/DocVQA@{PINNED},", f"{SHOTS}@{PINNED_SHOTS}"], made.stderr
    assert sorted(sent) == ["DocVQA/validation-00000-of-00001.parquet", *parts]
    again = python(READ, HF_ENDPOINT=address, HF_HOME=home, HF_HUB_OFFLINE="1")
    assert again.stdout == made.stdout, again.stderr
    gone = python(FETCH, HF_ENDPOINT=address, HF_HOME=str(tmp_path / "another"))
    last = gone.stderr.strip().splitlines()[-1]
    assert gone.returncode and "MissingData: lmms-lab/DocVQA: could not be downloaded (" in last


@pytest.mark.parametrize("name", [name for name, layout in BUILDERS if layout == HUB])
def test_what_is_fetched_is_enough(name: str, tmp_path: Path) -> None:
    """All that a split is read from is among the files that its patterns name."""
    found = task.get(name)
    assert found.hub is not None
    layout, pattern = (FILES, "*.*") if found.hub.files else (HUB, "*.parquet")
    tiny = BUILDERS[name, layout](tmp_path)
    files = [file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob(pattern)]
    wanted = set(filter_repo_objects(files, allow_patterns=parquet.needed(found.hub, tiny.split)))
    assert wanted
    for file in set(files) - wanted:
        (tmp_path / file).unlink()
    assert [sample.id for sample in found.samples(tiny.split, tmp_path)] == list(tiny.ids)


def test_authors_files_of_a_data_set_have_to_be_all_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = task.get("vstar-bench")
    assert found.hub is not None and found.hub.revision is not None
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "datasets--craigwu--vstar_bench" / "snapshots" / found.hub.revision
    tiny = BUILDERS["vstar-bench", FILES](snapshot)
    with pytest.raises(MissingData, match=r"3 of the 191 questions are here; .* hf download .* craigwu/vstar_bench"):
        found.samples("test", None)
    monkeypatch.setattr(type(found), "sizes", (3,))
    assert [sample.id for sample in found.samples("test", None)] == tiny.ids
    assert found.version(None) == f"craigwu/vstar_bench@{found.hub.revision}"


def test_a_part_of_a_split_is_no_split(tmp_path: Path) -> None:
    BUILDERS["vqav2", HUB](tmp_path)
    parts = sorted((tmp_path / "data").glob("*.parquet"))
    found = task.get("vqav2")
    shutil.copy(parts[0], parts[0].with_name("validation-00000-of-00003.parquet"))
    with pytest.raises(MissingData, match=r"2 of the 2 files .*, and 1 others of the split; a part of a split, or two"):
        found.samples("val", tmp_path)
    parts[0].with_name("validation-00000-of-00003.parquet").unlink()
    parts[1].unlink()
    with pytest.raises(
        MissingData, match=r"1 of the 2 files validation-\*-of-00002.parquet are here; a part of a split"
    ):
        found.samples("val", tmp_path)


def test_nothing_is_asked_of_a_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert task.get("docvqa").samples("val", None)
    with pytest.raises(MissingData, match="no data; point --data"):
        task.get("vqav2").samples("val", None)
