"""Results on a server that speaks S3, and at fsspec's other addresses."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest

import leaderboards
from flamingo_lab.cli import run as flab
from leaderboards import compare, ranking
from leaderboards.errors import BadStore, Conflict, UnknownRun
from leaderboards.remote import RemotePlace, publish
from leaderboards.store import Store
from tests.folders import ROOT
from tests.leaderboards.made import METRIC, drawn, finish
from tests.s3 import empty_bucket, serving

URL = "s3://team/flab"


@pytest.fixture(scope="module")
def server() -> Generator[str]:
    with serving() as address:
        yield address


@pytest.fixture(autouse=True)
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_bucket(server, "team", monkeypatch)


@pytest.fixture
def local(tmp_path: Path) -> Store:
    made = Store(tmp_path)
    for model, share in (("aaaa", 0.2), ("bbbb", 0.9)):
        finish(made, model, {METRIC: drawn(1, 300, share)}, model=model, model_digest=model)
    return made


def keys() -> list[str]:
    listed = boto3.client("s3").list_objects_v2(Bucket="team").get("Contents", [])
    return [one["Key"] for one in listed]


def test_published_runs_are_read_as_local_ones(local: Store) -> None:
    assert sorted(publish([local], RemotePlace(URL)).brought) == ["aaaa", "bbbb"]
    store = leaderboards.open(URL)
    assert store.runs() == local.runs() and store.problems() == []
    assert store.samples("aaaa").fetchall() == local.samples("aaaa").fetchall()
    assert store.samples().to_pandas().equals(local.samples().to_pandas())
    assert compare.compare(store, "a", "b").differences == compare.compare(local, "a", "b").differences
    assert [row.entrant for row in ranking.matrix(store).rows] == [row.entrant for row in ranking.matrix(local).rows]
    assert "flab/runs/aaaa/journal.jsonl" not in keys()


def test_publishing_again_changes_nothing(local: Store) -> None:
    publish([local], RemotePlace(URL))
    before = keys()
    again = publish([local], RemotePlace(URL))
    assert (again.brought, sorted(again.there), keys()) == ([], ["aaaa", "bbbb"], before)


def test_other_content_under_the_same_id_is_refused_and_nothing_changes(local: Store, tmp_path: Path) -> None:
    publish([local], RemotePlace(URL))
    other = Store(tmp_path / "other")
    finish(other, "aaaa", {METRIC: [1.0]})
    with pytest.raises(Conflict, match="run aaaa: s3://team/flab has it with other content"):
        publish([other], RemotePlace(URL))
    assert leaderboards.open(URL).samples("aaaa").fetchall() == local.samples("aaaa").fetchall()


def test_of_two_publishers_at_once_one_wins_whole(tmp_path: Path) -> None:
    stores = [Store(tmp_path / str(number)) for number in range(6)]
    for number, store in enumerate(stores):
        finish(store, "aaaa", {METRIC: [float(number % 2)] * (50 + number)})

    def put(store: Store) -> str:
        try:
            return publish([store], RemotePlace(URL)).brought[0]
        except Conflict:
            return "refused"

    with ThreadPoolExecutor(6) as pool:
        outcomes = list(pool.map(put, stores))
    assert sorted(outcomes) == ["aaaa", *["refused"] * 5]
    winner = stores[outcomes.index("aaaa")]
    held = leaderboards.open(URL)
    assert held.runs() == winner.runs() and held.samples().fetchall() == winner.samples().fetchall()


def test_a_publisher_that_was_stopped_goes_on(local: Store) -> None:
    publish([local], RemotePlace(URL))
    client = boto3.client("s3")
    for name in ("run.json", "samples.parquet"):
        client.delete_object(Bucket="team", Key=f"flab/runs/aaaa/{name}")
    assert [run.run_id for run in leaderboards.open(URL).runs()] == ["bbbb"]  # a claim alone is no run
    assert publish([local], RemotePlace(URL)).brought == ["aaaa"]
    assert len(leaderboards.open(URL).runs()) == 2


def test_cut_samples_are_named_and_the_rest_is_read(local: Store) -> None:
    publish([local], RemotePlace(URL))
    boto3.client("s3").put_object(Bucket="team", Key="flab/runs/aaaa/samples.parquet", Body=b"PAR1 half a file")
    store = leaderboards.open(URL)
    assert store.problems() == [
        "s3://team/flab/runs/aaaa/samples.parquet: cut or damaged (16 bytes); copy it again, or move its folder away"
    ]
    assert {*store.samples().to_pandas().run_id} == {"bbbb"}


def test_samples_damaged_in_their_middle_are_found_when_they_are_read(local: Store) -> None:
    publish([local], RemotePlace(URL))
    file = Path(local.file_of("aaaa"))
    content = bytearray(file.read_bytes())
    content[4:400] = bytes(396)
    boto3.client("s3").put_object(Bucket="team", Key="flab/runs/aaaa/samples.parquet", Body=bytes(content))
    store = leaderboards.open(URL)
    with pytest.raises(BadStore, match=r"aaaa/samples\.parquet: not readable as Parquet"):
        store.samples().to_pandas()
    assert {*store.samples().to_pandas().run_id} == {"bbbb"}
    assert [row.run.run_id for row in ranking.matrix(store).rows] == ["bbbb", "aaaa"]


def test_an_empty_bucket_holds_no_runs(server: str) -> None:
    store = leaderboards.open(URL)
    assert store.runs() == [] and store.samples().to_pandas().empty
    with pytest.raises(UnknownRun, match="no run 'a' in s3://team/flab"):
        store.run("a")


def test_what_cannot_be_reached_is_one_line(local: Store) -> None:
    with pytest.raises(BadStore, match="s3://nowhere/flab: cannot be reached or used"):
        leaderboards.open("s3://nowhere/flab").runs()
    with pytest.raises(BadStore, match="s3://nowhere/flab: cannot be reached or used"):
        publish([local], RemotePlace("s3://nowhere/flab"))
    with pytest.raises(BadStore, match="Protocol not known: colour"):
        leaderboards.open("colour://red")


def test_a_missing_extra_is_named() -> None:
    code = "import sys; sys.modules['s3fs'] = None; import leaderboards; leaderboards.open('s3://team/flab')"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.stderr.strip().endswith("need s3fs, pip install 'flamingo-lab[s3]'")


def test_the_command_line_publishes_and_reads(local: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert flab(["results", "merge", str(local.path), "--results", URL]) == 0
    assert flab(["results", "table", "--matrix", "--results", URL]) == 0
    assert "bbbb" in capsys.readouterr().out
    assert flab(["results", "compare", "a", "b", "--results", URL, "--json"]) == 0


def test_any_address_of_fsspec_will_do(local: Store) -> None:
    publish([local], RemotePlace("memory://flab"))
    store = leaderboards.open("memory://flab")
    assert store.runs() == local.runs()
    assert store.samples().to_pandas().equals(local.samples().to_pandas())


@pytest.mark.parametrize("folder", ["nosuch", "empty"])
def test_a_folder_without_runs_is_not_published(
    folder: str, local: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert flab(["results", "merge", str(local.path), str(tmp_path / folder), "--results", URL]) == 2
    assert f"{tmp_path / folder}: no " in capsys.readouterr().err
    assert keys() == []


def test_a_folder_with_a_damaged_record_is_named_and_nothing_is_published(
    local: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    (local.path / "runs" / "aaaa" / "run.json").write_text("{")
    assert flab(["results", "merge", str(local.path), "--results", URL]) == 2
    said = capsys.readouterr().err
    assert "runs/aaaa/run.json: not a run's record" in said and said.count("\n") == 1
    assert keys() == []


def test_a_url_of_files_is_the_folder(local: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"file://{tmp_path / 'some' / 'where'}"
    assert flab(["results", "merge", str(local.path), "--results", url]) == 0
    assert leaderboards.open(url).runs() == local.runs()
    assert flab(["results", "table", "--matrix", "--results", url]) == 0
    assert "bbbb" in capsys.readouterr().out


def test_a_run_whose_record_an_older_version_wrote_is_there(local: Store) -> None:
    publish([local], RemotePlace(URL))
    record = json.loads(local.run("aaaa").to_json()) | {"schema_version": 2}
    claim = {"content": "digest of the older record", "claimed": "2026-01-01"}
    for name, held in (("run.json", record), ("claim", claim)):
        boto3.client("s3").put_object(Bucket="team", Key=f"flab/runs/aaaa/{name}", Body=json.dumps(held).encode())
    again = publish([local], RemotePlace(URL))
    assert (again.brought, sorted(again.there)) == ([], ["aaaa", "bbbb"])
