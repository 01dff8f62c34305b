"""Pictures of coming questions are read side by side, and what cannot be read stops nobody."""

from __future__ import annotations

import io
from pathlib import Path
from threading import Barrier

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as pil

from eval_tasks import looking, parquet
from eval_tasks.task import Sample
from flamingo_lab.prompt import Image


def png(value: int) -> bytes:
    held = io.BytesIO()
    pil.new("L", (4, 4), value).save(held, "png")
    return held.getvalue()


def sample(number: int, image: Image) -> Sample:
    return Sample(str(number), (image,), "?", ("yes",), str(number))


def test_pictures_of_several_questions_are_read_side_by_side() -> None:
    both = Barrier(2, timeout=20)

    def read(value: int) -> bytes:
        both.wait()  # breaks where the other one waits for this one's end
        return png(value)

    samples = [sample(value, Image(lambda value=value: read(value))) for value in (1, 2)]
    assert [*looking.ahead(samples)] == samples
    assert all(one.images[0].is_digested for one in samples)


def test_all_questions_come_in_their_order_also_those_whose_picture_cannot_be_read() -> None:
    count = 2 * looking.AHEAD + 3
    samples = [sample(number, Image(png(number % 7) if number % 5 else b"none")) for number in range(count)]
    assert [*looking.ahead(samples)] == samples
    assert [one.images[0].is_digested for one in samples] == [bool(number % 5) for number in range(count)]


def test_a_group_of_rows_is_read_once_for_all_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "test-00000-of-00001.parquet"
    rows = [{"image": {"bytes": png(number), "path": f"{number}.png"}} for number in range(20)]
    pq.write_table(pa.Table.from_pylist(rows), file)
    groups: list[int] = []
    read = pq.ParquetFile.read_row_group

    def counted(self: pq.ParquetFile, group: int, columns: list[str]) -> pa.Table:
        groups.append(group)
        return read(self, group, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counted)
    samples = [sample(n, row["image"]) for n, row in enumerate(parquet.rows([file]))]
    groups.clear()
    assert len({one.images[0].digest for one in looking.ahead(samples)}) == 20
    assert groups == [0]
