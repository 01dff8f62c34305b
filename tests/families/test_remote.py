"""Models at a URL: fetched when asked, file by file, and the same model as the folder they came from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from pathlib import Path

import pytest
import s3fs
from typer.testing import CliRunner

import flamingo_lab as fl
from flamingo_lab import remote
from flamingo_lab.cli import app
from flamingo_lab.errors import BadCheckpoint, BadSetting, MissingModel, MissingPackage
from tests import s3
from tests.families import tiny_llava

SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "rms_norm_eps")

URL = "s3://models/team/tiny-llava"


@pytest.fixture(scope="module")
def server() -> Generator[str]:
    with s3.serving() as address:
        yield address


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, with a file that nobody wants."""
    made = tmp_path_factory.mktemp("made") / "tiny-llava"
    made.mkdir()
    tiny_llava.write_converted(made, {name: tiny_llava.CONFIG[name] for name in SIZES}, tiny_llava.TOWER, seed=3)
    (made / "modeling.py").write_text("raise SystemExit")
    return made


@pytest.fixture
def bucket(server: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> s3fs.S3FileSystem:
    """The model on the server; this machine has nothing of it."""
    s3.empty_bucket(server, "models", monkeypatch)
    monkeypatch.setattr("huggingface_hub.constants.HF_ASSETS_CACHE", str(tmp_path / "assets"))
    files = s3fs.S3FileSystem()
    files.put(f"{folder}/", URL, recursive=True)
    return files


def counted(bucket: s3fs.S3FileSystem, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are fetched from now on."""
    got: list[str] = []
    really = bucket.get_file

    def get_file(key: str, *told: object, **named: object) -> None:
        got.append(key.rpartition("/")[2])
        really(key, *told, **named)

    monkeypatch.setattr(bucket, "get_file", get_file)
    return got


def test_nothing_is_fetched_unasked(bucket: s3fs.S3FileSystem, tmp_path: Path) -> None:
    with pytest.raises(MissingModel, match="fetch it with --download"):
        fl.load(URL)
    assert not (tmp_path / "assets").exists()


def test_the_model_is_that_of_the_folder(bucket: s3fs.S3FileSystem, folder: Path) -> None:
    found, expected = fl.load(URL, download=True), fl.load(folder)
    assert isinstance(found, fl.LoadedModel) and isinstance(expected, fl.LoadedModel)
    assert (found.name, found.digest) == ("tiny-llava", expected.digest)
    kept = remote.fetched(URL, download=False)
    assert {file.name for file in kept.iterdir()} == {file.name for file in folder.iterdir()} - {"modeling.py"}


def test_only_what_changed_is_fetched_again(bucket: s3fs.S3FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.pipe_file(f"{URL}/gone.json", b"{}")
    kept = remote.fetched(URL, download=True)
    got = counted(bucket, monkeypatch)
    assert remote.fetched(f"{URL}/", download=True) == kept and not got
    bucket.pipe_file(f"{URL}/preprocessor_config.json", b'{"a": 1}')
    bucket.rm(f"{URL}/gone.json")
    (kept / "config.json").write_text("cut")
    remote.fetched(URL, download=True)
    assert sorted(got) == ["config.json", "preprocessor_config.json"]
    assert (kept / "preprocessor_config.json").read_text() == '{"a": 1}'
    assert not (kept / "gone.json").exists()


def test_a_fetch_that_was_cut_goes_on(bucket: s3fs.S3FileSystem, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = bucket.get_file

    def cut(key: str, there: str, **named: object) -> None:
        if key.endswith(".safetensors"):
            Path(there).write_bytes(b"half")
            raise ConnectionResetError("the line is dead")
        really(key, there, **named)

    with monkeypatch.context() as patch:
        patch.setattr(remote, "AT_ONCE", 1)
        patch.setattr(bucket, "get_file", cut)
        with pytest.raises(MissingModel, match=r"the line is dead.*the same command goes on"):
            remote.fetched(URL, download=True)
    with pytest.raises(MissingModel, match="not on this machine"):
        remote.fetched(URL, download=False)
    got = counted(bucket, monkeypatch)
    kept = remote.fetched(URL, download=True)
    assert any(name.endswith(".safetensors") for name in got) and len(got) < len(list(folder.iterdir())) - 1
    assert not list(kept.glob("*.part"))


def test_an_unreachable_place_leaves_what_is_here(bucket: s3fs.S3FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    remote.fetched(URL, download=True)
    monkeypatch.setattr(s3fs.S3FileSystem, "find", lambda *_, **__: (_ for _ in ()).throw(OSError("no route")))
    with pytest.raises(MissingModel, match=r"no route.*what is here is used without --download"):
        remote.fetched(URL, download=True)
    assert (remote.fetched(URL, download=False) / "config.json").is_file()


def test_a_disk_that_is_too_small_is_told_before(bucket: s3fs.S3FileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    got = counted(bucket, monkeypatch)
    with pytest.raises(MissingModel, match="point HF_ASSETS_CACHE to a larger disk"):
        remote.fetched(URL, download=True)
    assert not got


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("s3://models/nothing", BadCheckpoint, "no files there"),
        ("s3://absent/model", MissingModel, "cannot be fetched"),
        ("s3://", BadSetting, "names no folder"),
        ("nosuch://models/x", BadSetting, "nosuch"),
        ("gs://models/x", MissingPackage, "pip install gcsfs"),
    ],
)
def test_other_addresses_are_one_line(bucket: s3fs.S3FileSystem, url: str, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said) as told:
        remote.fetched(url, download=True)
    assert "\n" not in str(told.value)


def test_the_command_line_takes_a_url(bucket: s3fs.S3FileSystem) -> None:
    run = CliRunner().invoke(app, ["check", URL, "--download", "--json"])
    assert run.exit_code == 0, run.output
    assert json.loads(run.stdout)["loads"] is True
