"""Keeps the pictures of a results folder beside its runs, so that they are seen on machines without the data."""

from __future__ import annotations

import zipfile
from pathlib import Path

import duckdb

from dashboard.pictures import KEPT, Missing, Sources
from leaderboards.files import write_whole


def keep(results: Path, sources: Sources) -> int:
    """Write `pictures.zip` with every picture of every run that `sources` can find, by digest; how many there are."""
    query = """
        select digest, min(name)
        from (select unnest(image_digests) as digest, unnest(image_paths) as name from read_parquet($files))
        group by digest order by digest
    """
    files = [str(one) for one in sorted(results.glob("runs/*/samples.parquet"))]
    with duckdb.connect() as connection:
        pictures = connection.execute(query, {"files": files}).fetchall()
    found: dict[str, bytes] = {}
    for digest, name in pictures:
        try:
            found[digest] = sources.read(digest, name)
        except Missing:
            continue  # its frame will say so
    with_date = (1980, 1, 1, 0, 0, 0)  # the same bytes on every day

    def write(stream: object) -> None:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType] - a binary stream
            for digest, file in found.items():
                archive.writestr(zipfile.ZipInfo(digest, with_date), file)

    write_whole(results / KEPT, write)
    return len(found)
