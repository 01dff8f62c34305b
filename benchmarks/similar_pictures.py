"""What it costs to find the most similar of very many pictures: keeping their vectors, the index on disk, and a question.

    python benchmarks/similar_pictures.py [--pictures 1200000] [--width 256] [--exact-up-to 1000000]

The vectors are drawn around some thousand centres, as pictures of things are, and stand in for what a tower makes of pictures, so
no picture is read. Beside the index: comparing every vector, whose first eight are what the index should find; and a bundled
task's examples put in order, whose pictures are read. Writes benchmarks/reports/similar_pictures.md.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from eval_tasks import task  # noqa: E402
from eval_tasks import vectors as module  # noqa: E402
from eval_tasks.shots import Pool, rices  # noqa: E402
from eval_tasks.vectors import Index, Vectors  # noqa: E402
from flamingo_lab.host import peak_bytes  # noqa: E402

REPORT = Path(__file__).parent / "reports" / "similar_pictures.md"
CENTRES = 4096
FIRST = 8
QUESTIONS = 100
TASK = "easy-vqa"


@dataclass(frozen=True)
class Seen:
    """A picture of which only the name is asked."""

    digest: str
    source: bytes = b""


class Tower:
    """Gives each picture a vector near one of the centres, decided by its name."""

    def __init__(self, width: int) -> None:
        self.centres = np.random.default_rng(1).standard_normal((CENTRES, width)).astype(np.float32)

    def embeds_digest(self) -> str:
        return f"{self.centres.shape[1]:016d}"

    def embed(self, images: Sequence[Any]) -> NDArray[np.float32]:
        seeds = [int(image.digest, 16) for image in images]
        noise = np.random.default_rng(seeds[0]).standard_normal((len(seeds), self.centres.shape[1]))
        found = self.centres[[seed % CENTRES for seed in seeds]] + 0.5 * noise
        return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def seconds(began: float) -> float:
    return time.process_time() - began


def first_and_again(tower: Any, folder: Path) -> list[tuple[str, float]]:
    """What a run that chooses by similarity does before its first question: pictures from files, in two runs of a task."""
    rows: list[tuple[str, float]] = []
    for how in ("for the first time", "with their vectors kept"):
        samples = list(task.get(TASK).samples("train", None))
        began = time.process_time()
        rices.order(Pool(samples, TASK, 4, 0, tower, features=folder))
        rows.append((f"order {TASK}'s {len(samples):,} examples, {how}", seconds(began)))
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = machine.options(__doc__)
    for name, usual in (("pictures", 1_200_000), ("width", 256), ("exact-up-to", module.EXACT_UP_TO)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    asked = parser.parse_args()
    module.EXACT_UP_TO = asked.exact_up_to
    tower = Tower(asked.width)
    pictures: list[Any] = [Seen(f"{number * 2654435761 % 2**64:064x}") for number in range(asked.pictures)]
    entries = [(picture.digest,) for picture in pictures]
    queries = tower.embed([Seen(f"{number:064x}") for number in range(QUESTIONS)])  # pyright: ignore[reportArgumentType]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        kept: Any = Vectors(tower, folder)  # pyright: ignore[reportArgumentType]
        began = time.process_time()
        kept.add(pictures)
        rows = [("keep the vectors", seconds(began))]
        began = time.process_time()
        Index(kept, entries)
        rows.append(("build the index", seconds(began)))
        began = time.process_time()
        index = Index(kept, entries)
        rows.append(("open it again", seconds(began)))
        sizes = {file.suffix: file.stat().st_size / 2**20 for file in folder.iterdir()}
        began = time.process_time()
        found = [[number for number, _ in zip(index.nearest(query), range(FIRST), strict=False)] for query in queries]
        rows.append((f"a question's first {FIRST}", seconds(began) / QUESTIONS))
        held = np.concatenate(list(index._chunks()))  # pyright: ignore[reportPrivateUsage]
        began = time.process_time()
        right = [np.argsort(-(held @ query), kind="stable")[:FIRST].tolist() for query in queries]
        rows.append(("the same by comparing every vector", seconds(began) / QUESTIONS))
        peak = peak_bytes() / 2**30
        rows += first_and_again(tower, folder / "files")
    hits = sum(len(set(one) & set(other)) for one, other in zip(found, right, strict=True))
    text = [
        "# Similar pictures among many",
        "",
        f"{asked.pictures:,} pictures, vectors of {asked.width} numbers; the index is "
        f"{'a list of all' if index.is_exact else 'of cells, on disk'}. `{machine.command()}`, {machine.facts()}.",
        "",
        "| step | seconds of processor |",
        "| --- | --- |",
        *(f"| {name} | {spent:.3f} |" for name, spent in rows),
        "",
        f"Of the {FIRST} most similar {100 * hits / (FIRST * QUESTIONS):.1f} % are found. On disk: "
        f"{', '.join(f'{size:,.0f} MiB ({ending})' for ending, size in sorted(sizes.items()))}; memory at the peak "
        f"{peak:.1f} GiB, with the vectors that are compared.",
        "",
    ]
    print("\n".join(text))
    REPORT.write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
