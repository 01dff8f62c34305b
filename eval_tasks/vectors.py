"""What a model's tower makes of pictures, kept on disk, and the pictures nearest to one of them.

FEATURES/vectors-EMBEDS_DIGEST.sqlite holds one vector a picture under the picture's digest, so that a changed weight, another
pre-processing or a changed pixel is another key. Which picture a file holds is kept too, so that a later run need not decode
millions of files to know their digests. Vectors have length 1: their inner product is the cosine.
"""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval_tasks import looking
from eval_tasks.errors import BadCache
from flamingo_lab.model import Embeds
from flamingo_lab.prompt import THREADS, Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOGETHER = 256
"""Pictures that are embedded and kept at once: what a kill loses."""

WAIT_SECONDS = 60
"""How long another process may write to the same file."""

EXACT_UP_TO = 1_000_000
"""Entries up to which every one is compared; above, those of the nearest cells (`IndexIVFFlat`)."""

CELLS_SEARCHED = 64
TRAINED_PER_CELL = 64
FIRST_NEAREST = 32
"""How many entries are looked up at first; leaking ones among them are left out, and then more are asked for."""


class Vectors:
    """The vectors of one model's tower by the digest of the picture. Without a folder they last as long as this object."""

    def __init__(self, model: Embeds, folder: Path | None) -> None:
        self._model = model
        self._folder = folder
        self._key = model.embeds_digest()[:16]
        self._file = Path(":memory:")
        if folder is not None:
            self._file = folder / f"vectors-{self._key}.sqlite"
            with _told(self._file):
                folder.mkdir(parents=True, exist_ok=True)
        with _told(self._file):
            self._held = sqlite3.connect(self._file, timeout=WAIT_SECONDS)
            with self._held:
                self._held.execute("create table if not exists vectors (digest text primary key, vector blob not null)")
                self._held.execute("create table if not exists origins (origin text primary key, digest text not null)")

    def add(self, images: Iterable[Image], looked: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Embed those that are not held yet, and keep them as they come. A picture that cannot be read is passed over."""
        found = list({id(image): image for image in images}.values())
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(found), TOGETHER):
                some = found[start : start + TOGETHER]
                unread = [image for image in some if self._known(image) is None]
                read = {
                    digest: image
                    for digest, image in zip(pool.map(looking.digest, unread), unread, strict=True)
                    if digest
                }
                new = {digest: image for digest, image in read.items() if not self._has(digest)}
                vectors = self._model.embed(list(new.values())).astype("<f4") if new else ()
                rows = [(digest, vector.tobytes()) for digest, vector in zip(new, vectors, strict=True)]
                origins = [(origin, image.digest) for image in read.values() if (origin := _origin(image))]
                with _told(self._file), self._held:
                    self._held.executemany("insert or ignore into vectors values (?, ?)", rows)
                    self._held.executemany("insert or ignore into origins values (?, ?)", origins)
                looked(start + len(some), len(found))

    def held(self, image: Image) -> str | None:
        """The digest of a picture whose vector is here, else None. A file that is as it was is not looked at again."""
        digest = self._known(image) or looking.digest(image)
        return digest if digest is not None and self._has(digest) else None

    def index(self, entries: str) -> Path | None:
        """Where an index of some of the vectors is kept, which `entries` names; None without a folder."""
        return None if self._folder is None else self._folder / f"index-{self._key}-{entries}.faiss"

    def mean(self, digests: Sequence[str]) -> NDArray[np.float32]:
        """The direction of several pictures together, (width,), of length 1."""
        total: NDArray[np.float32] = np.stack([self._one(digest) for digest in digests]).sum(0)
        length = float(np.linalg.norm(total))
        return total / length if length else total

    def _one(self, digest: str) -> NDArray[np.float32]:
        with _told(self._file):
            (held,) = self._held.execute("select vector from vectors where digest = ?", (digest,)).fetchone()
        return np.frombuffer(held, "<f4")

    def _known(self, image: Image) -> str | None:
        origin = _origin(image)
        if origin is None:
            return None
        with _told(self._file):
            row = self._held.execute("select digest from origins where origin = ?", (origin,)).fetchone()
        return None if row is None else row[0]

    def _has(self, digest: str) -> bool:
        with _told(self._file):
            return self._held.execute("select 1 from vectors where digest = ?", (digest,)).fetchone() is not None


class Index:
    """Entries of one or more pictures each, found by similarity; through faiss, on disk where it takes long to build."""

    def __init__(self, vectors: Vectors, entries: Sequence[tuple[str, ...]]) -> None:
        self._vectors = vectors
        self._entries = entries
        self.is_exact = len(entries) <= EXACT_UP_TO
        self._index: Any = None
        if entries:
            self._index = self._exact() if self.is_exact else self._approximate()

    def nearest(self, vector: NDArray[np.float32]) -> Iterator[int]:
        """All entries by their number, the most similar first; of equal ones the first first.

        Asked one at a time, so that a question's examples do not depend on what else is asked.
        """
        given: set[int] = set()
        count = FIRST_NEAREST
        while len(given) < len(self._entries):
            count = min(count, len(self._entries))
            scores, numbers = (found[0] for found in self._search(vector, count))
            ranked = sorted(zip(-scores, numbers.tolist(), strict=True))
            fresh = [number for _, number in ranked if number >= 0 and number not in given]
            given.update(fresh)
            yield from fresh
            if count == len(self._entries):
                return
            count *= 4

    def _search(self, vector: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if not self.is_exact:
            self._index.nprobe = self._index.nlist if count > FIRST_NEAREST else CELLS_SEARCHED
        return self._index.search(vector[None], count)

    def _rows(self, numbers: Iterable[int]) -> NDArray[np.float32]:
        return np.stack([self._vectors.mean(self._entries[number]) for number in numbers])

    def _chunks(self) -> Iterator[NDArray[np.float32]]:
        for start in range(0, len(self._entries), 2**16):
            yield self._rows(range(start, min(start + 2**16, len(self._entries))))

    def _exact(self) -> Any:
        import faiss

        index = faiss.IndexFlatIP(len(self._rows([0])[0]))
        for rows in self._chunks():
            index.add(rows)
        return index

    def _approximate(self) -> Any:
        """Cells around the centres of a part of the entries; on disk, and read from there without copying, with a folder."""
        import faiss

        key = hashlib.sha256("\n".join(map(" ".join, self._entries)).encode()).hexdigest()[:16]
        file = self._vectors.index(key)
        if file is None or not file.exists():
            cells = int(4 * math.sqrt(len(self._entries)))
            some = np.random.default_rng(0).permutation(len(self._entries))[: cells * TRAINED_PER_CELL]
            index: Any = faiss.index_factory(len(self._rows([0])[0]), f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
            index.train(self._rows(sorted(some.tolist())))
            for rows in self._chunks():
                index.add(rows)
            if file is None:
                return index
            written = file.with_suffix(".tmp")
            with _told(file):
                faiss.write_index(index, str(written))
                written.replace(file)
        with _told(file):
            return faiss.read_index(str(file), faiss.IO_FLAG_MMAP)


def _origin(image: Image) -> str | None:
    """The file that a picture is in, its place there, and the file's size and time; None for what is in no file."""
    source: Any = image.source
    place: Sequence[Any] = ()
    if isinstance(source, partial) and source.args:  # a place in a file, see `parquet`
        source, *place = source.args
    if not isinstance(source, Path):
        return None
    try:
        held = source.stat()
    except OSError:
        return None
    return f"{source.absolute()} {place} {held.st_size} {held.st_mtime_ns}"


@contextmanager
def _told(file: Path) -> Generator[None]:
    """Turn what goes wrong with a file into one clear line about it."""
    try:
        yield
    except (sqlite3.Error, OSError, RuntimeError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadCache(
            f"{file}: pictures' features cannot be kept there ({said}); move it away, or name another folder with --features"
        ) from None
