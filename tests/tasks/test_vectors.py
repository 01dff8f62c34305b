"""Features of pictures are kept on disk under all that can change them, and the nearest ones are found among many."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

import flamingo_lab as fl
from eval_tasks import parquet
from eval_tasks import vectors as module
from eval_tasks.errors import BadCache
from eval_tasks.vectors import Index, Vectors
from tests.tasks.seeing import Seeing

WIDTH = 16
COUNT = 3_000


class Many(Seeing):
    """Random directions, which the picture's digest decides."""

    def embed(self, images: Sequence[fl.Image]) -> NDArray[np.float32]:
        self.embedded += [image.digest for image in images]
        return np.stack([self.direction(image.digest) for image in images])

    @staticmethod
    def direction(digest: str) -> NDArray[np.float32]:
        drawn = np.random.default_rng(int(hashlib.sha256(digest.encode()).hexdigest()[:12], 16))
        vector = drawn.standard_normal(WIDTH).astype(np.float32)
        return (vector / np.linalg.norm(vector)).astype(np.float32)


def pictures(count: int) -> list[fl.Image]:
    return [fl.Image(Pillow.new("RGB", (2, 2), (n % 256, n // 256, 7))) for n in range(count)]


@pytest.fixture
def held(tmp_path: Path) -> tuple[Vectors, list[tuple[str, ...]]]:
    vectors, found = Vectors(Many(), tmp_path), pictures(COUNT)
    vectors.add(found)
    return vectors, [(image.digest,) for image in found]


def exact(entries: Sequence[tuple[str, ...]], query: NDArray[np.float32]) -> list[int]:
    scores = np.stack([Many.direction(digest) for (digest,) in entries]) @ query
    return np.argsort(-scores, kind="stable").tolist()


def test_the_nearest_are_all_there_in_order(held: tuple[Vectors, list[tuple[str, ...]]]) -> None:
    vectors, entries = held
    index = Index(vectors, entries)
    for query in (Many.direction("a"), Many.direction("b")):
        assert list(index.nearest(query)) == exact(entries, query)


def test_an_approximate_index_is_built_once_and_finds_nearly_all(
    held: tuple[Vectors, list[tuple[str, ...]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, entries = held
    monkeypatch.setattr(module, "EXACT_UP_TO", 1_000)
    index = Index(vectors, entries)
    assert not index.is_exact
    (file,) = tmp_path.glob("index-*.faiss")
    written = file.stat().st_mtime_ns
    hits = 0
    for number in range(20):
        query = Many.direction(str(number))
        found = Index(vectors, entries).nearest(query)
        first = [next(found) for _ in range(8)]
        hits += len(set(first) & set(exact(entries, query)[:8]))
        assert sorted([*first, *found]) == list(range(COUNT)), "in the end every one is given, each once"
    assert hits >= 0.9 * 160
    assert file.stat().st_mtime_ns == written
    assert next(Index(vectors, entries[:2_000]).nearest(Many.direction("a"))) < 2_000
    assert len(list(tmp_path.glob("index-*.faiss"))) == 2


def test_what_is_kept_is_not_computed_again(tmp_path: Path) -> None:
    first, found = Many(), pictures(600)
    Vectors(first, tmp_path).add(found[:300])
    Vectors(first, tmp_path).add([*found, fl.Image(b"no picture")])
    assert len(first.embedded) == len(set(first.embedded)) == 600
    again = Many()
    kept = Vectors(again, tmp_path)
    kept.add(pictures(600))
    assert not again.embedded
    np.testing.assert_array_equal(kept.mean([found[5].digest]), Many.direction(found[5].digest))
    Vectors(Many(tower="other"), tmp_path).add(found[:1])
    assert len(list(tmp_path.glob("vectors-*.sqlite"))) == 2


def test_a_file_that_is_as_it_was_is_not_looked_at_again(tmp_path: Path) -> None:
    for number, name in enumerate(("a.png", "b.png", "c.png")):
        Pillow.new("RGB", (3, 3), (number, 0, 0)).save(tmp_path / name)
    table = pa.Table.from_pylist([{"image": {"bytes": (tmp_path / "c.png").read_bytes(), "path": "c.png"}}])
    pq.write_table(table, tmp_path / "one.parquet")

    def pictures() -> list[fl.Image]:
        row = next(parquet.rows([tmp_path / "one.parquet"]))
        return [fl.Image(tmp_path / "a.png"), fl.Image(tmp_path / "b.png"), row["image"]]

    first = pictures()
    Vectors(Many(), tmp_path / "features").add(first)
    for name, changed in (("a.png", False), ("b.png", True), ("one.parquet", False)):
        before = (tmp_path / name).stat()
        (tmp_path / name).write_bytes(b"?" * before.st_size)
        os.utime(tmp_path / name, ns=(before.st_atime_ns, before.st_mtime_ns + changed))
    parquet._group.cache_clear()
    again, model = [fl.Image(image.source) for image in first], Many()
    kept = Vectors(model, tmp_path / "features")
    kept.add(again)
    assert [kept.held(image) for image in again] == [first[0].digest, None, first[2].digest]
    assert not model.embedded


def test_what_was_embedded_before_an_interruption_is_kept(tmp_path: Path) -> None:
    class Stops(Many):
        def embed(self, images: Sequence[fl.Image]) -> NDArray[np.float32]:
            if self.embedded:
                raise KeyboardInterrupt
            return super().embed(images)

    found, stopped, model = pictures(600), Stops(), Many()
    with pytest.raises(KeyboardInterrupt):
        Vectors(stopped, tmp_path).add(found)
    Vectors(model, tmp_path).add(found)
    assert len(stopped.embedded) == module.TOGETHER
    assert set(model.embedded).isdisjoint(stopped.embedded) and len(model.embedded) == 600 - module.TOGETHER


def test_several_pictures_are_one_direction(tmp_path: Path) -> None:
    model, found = Seeing(), [fl.Image(Pillow.new("RGB", (2, 2), (red, 0, 0))) for red in (0, 100)]
    vectors = Vectors(model, tmp_path)
    vectors.add(found)
    np.testing.assert_allclose(vectors.mean([image.digest for image in found]), Seeing.of(50), atol=1e-6)


@pytest.mark.parametrize("damage", ["a file in its place", "not a database"])
def test_a_cache_that_cannot_be_used_is_one_line(damage: str, tmp_path: Path) -> None:
    model, folder = Many(), tmp_path / "features"
    if damage == "a file in its place":
        folder.write_text("here")
    else:
        folder.mkdir()
        (folder / f"vectors-{model.embeds_digest()[:16]}.sqlite").write_bytes(b"no database" * 200)
    with pytest.raises(BadCache, match=r"features cannot be kept there .* with --features") as caught:
        Vectors(model, folder)
    assert len(str(caught.value).splitlines()) == 1
