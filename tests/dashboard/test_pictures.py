"""Pictures: found by digest, only where they may be read from, and never another one than was asked about."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from PIL import Image as pil

from dashboard import pictures
from dashboard.kept import keep
from dashboard.pictures import Missing, Sources, picture, pixels_digest
from flamingo_lab.prompt import Image
from leaderboards.store import Store
from tests.dashboard.made import png, with_pictures


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_the_digest_is_the_one_that_runs_record(mode: str, tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    pil.new(mode, (7, 5), 1 if mode in ("1", "L", "P", "I;16") else None).save(file)
    assert pixels_digest(file.read_bytes()) == Image(file).digest


def test_a_picture_is_found_by_name_in_a_folder_or_an_archive(tmp_path: Path) -> None:
    file = png((9, 9, 9))
    digest = Image(file).digest
    (tmp_path / "data" / "train").mkdir(parents=True)
    (tmp_path / "data" / "train" / "1.png").write_bytes(file)
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        archive.writestr("1.png", file)
    results = tmp_path / "results"
    assert Sources(results, (tmp_path / "data",)).read(digest, "train/1.png") == file
    assert Sources(results, (tmp_path / "data",)).read(digest, str(tmp_path / "data" / "train" / "1.png")) == file
    assert Sources(results, (tmp_path / "pictures.zip",)).read(digest, "1.png") == file


@pytest.mark.parametrize(
    "name", ["../secret.png", "inside/../../secret.png", "{outside}", "link.png", "linked/secret.png"]
)
def test_a_path_out_of_the_allowed_folders_is_refused(name: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(png((1, 2, 3)))
    root = tmp_path / "images"
    root.mkdir()
    (root / "link.png").symlink_to(secret)
    (root / "linked").symlink_to(tmp_path)
    sources = Sources(tmp_path / "results", (root,))
    with pytest.raises(Missing, match="leads out of the folders"):
        sources.read(Image(secret).digest, name.format(outside=secret))


@pytest.mark.parametrize("name", ["0.png\0", "a" * 5000, "", "con\ud800.png"])
def test_a_name_that_no_file_can_have_is_a_missing_picture(name: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(Missing):
        Sources(tmp_path, (tmp_path / "images",)).read("0" * 64, name)


def test_another_picture_of_the_same_name_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png((1, 1, 1)))
    with pytest.raises(Missing, match="with these pixels"):
        Sources(tmp_path / "results", (tmp_path,)).read(Image(png((2, 2, 2))).digest, "0.png")


def test_a_digest_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="not recorded"):
        Sources(tmp_path).read("../../etc/passwd", "0.png")


@pytest.mark.parametrize("content", [b"", b"no picture", png((0, 0, 0))[:40]])
def test_a_damaged_file_is_a_missing_picture(content: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / pictures.KEPT, "w") as archive:
        archive.writestr("0" * 64, content)
    found = picture(Sources(tmp_path), "0" * 64, "0.png", 100)
    assert found.src is None
    assert "cannot be decoded" in found.reason


def test_a_bomb_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pil, "MAX_IMAGE_PIXELS", 1000)
    with zipfile.ZipFile(tmp_path / pictures.KEPT, "w") as archive:
        archive.writestr("1" * 64, png((0, 0, 0), (200, 200)))
    found = picture(Sources(tmp_path), "1" * 64, "0.png", 100)
    assert found.src is None
    assert "Decompression" in found.reason


def test_a_damaged_archive_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / pictures.KEPT).write_bytes(b"PK no archive")
    with pytest.raises(Missing):
        Sources(tmp_path).read("0" * 64, "0.png")


def test_a_large_picture_is_sent_small(tmp_path: Path) -> None:
    file = png((3, 4, 5), (4000, 1000))
    (tmp_path / "0.png").write_bytes(file)
    found = picture(Sources(tmp_path / "results", (tmp_path,)), Image(file).digest, "0.png", 100)
    assert (found.width, found.height) == (4000, 1000)
    assert found.src is not None
    assert len(found.src) < 3000


def test_kept_pictures_are_seen_without_the_data(tmp_path: Path) -> None:
    run_id = with_pictures(tmp_path / "results", tmp_path / "images")
    assert keep(tmp_path / "results", Sources(tmp_path / "results", (tmp_path / "images",))) == 4
    ((digests,),) = Store(tmp_path / "results").samples(run_id).limit(1).project("image_digests").fetchall()
    assert Image(Sources(tmp_path / "results").read(digests[0], "gone.png")).digest == digests[0]
