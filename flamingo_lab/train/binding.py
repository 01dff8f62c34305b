"""Fast concept binding: two invented words, two kinds of things, and shots that say which is which.

After arXiv 2106.13884 (section 4.3), drawn by this package. Words, and pairs of kinds, of the test split never occur in
training. `python -m flamingo_lab.train.binding DIR` writes the test split that the task `shapes-binding` ships.
"""

from __future__ import annotations

import io
import itertools
import json
import sys
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from flamingo_lab.train.language import words
from flamingo_lab.train.pictures import KINDS, draw

TEST_SEED = 20_240_601
EPISODES = 1_000
MOST_SHOTS = 8
PICTURES_PER_KIND = 24

Pair = tuple[int, int]
"""Two different indices into `KINDS`."""


@cache
def pairs() -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
    """Pairs of kinds of the training and of the test split: every fourth pair, in a fixed random order, is a test pair."""
    every = list(itertools.combinations(range(len(KINDS)), 2))
    order = np.random.default_rng(TEST_SEED).permutation(len(every))
    shuffled = [every[number] for number in order]
    return tuple(p for n, p in enumerate(shuffled) if n % 4), tuple(shuffled[::4])


@dataclass(frozen=True)
class Episode:
    """Two words, the kind that each one names, and which of the two each thing shown is; the last one is asked for.

    Things come two by two, one of each word in random order, so that an even number of shots is balanced.
    """

    words: tuple[str, str]
    kinds: Pair
    order: tuple[int, ...]


def episode(random: np.random.Generator, shots: int, *, test: bool = False) -> Episode:
    """An episode with this many shots before the question, of the training split unless `test`."""
    of_kinds, of_words = pairs()[test], words()[test]
    first, second = of_kinds[random.integers(len(of_kinds))]
    kinds = (first, second) if random.random() < 0.5 else (second, first)
    while True:
        one, other = (of_words[n] for n in random.choice(len(of_words), 2, replace=False))
        if one[:2] != other[:2]:  # told apart by their first token
            break
    blocks = [(0, 1) if random.random() < 0.5 else (1, 0) for _ in range((shots + 1) // 2)]
    order = [which for block in blocks for which in block][:shots]
    return Episode((one, other), kinds, (*order, int(random.integers(2))))


def write(folder: Path) -> None:
    """Write the test split: `episodes.jsonl`, and `pictures.zip` with the pictures that its lines name."""
    random = np.random.default_rng(TEST_SEED)
    drawn = draw(np.repeat(np.arange(len(KINDS)), PICTURES_PER_KIND), random)
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "pictures.zip", "w", zipfile.ZIP_STORED) as archive:
        for number, pixels in enumerate(drawn.pixels):
            # A fixed date keeps the archive the same, whenever it is written.
            archive.writestr(zipfile.ZipInfo(f"{number:03}.png", (2024, 1, 1, 0, 0, 0)), _png(pixels))
    lines: list[str] = []
    for number in range(EPISODES):
        told = episode(random, MOST_SHOTS, test=True)
        # No picture twice in an episode: the question's is never among its shots.
        pools = [list(random.permutation(PICTURES_PER_KIND)) for _ in told.kinds]
        shown = [
            {"image": f"{told.kinds[which] * PICTURES_PER_KIND + pools[which].pop():03}.png", "word": which}
            for which in told.order
        ]
        line = {
            "id": f"{number:04}",
            "words": told.words,
            "kinds": [KINDS[kind] for kind in told.kinds],
            "support": shown[:-1],
            "query": shown[-1],
        }
        lines.append(json.dumps(line) + "\n")
    (folder / "episodes.jsonl").write_text("".join(lines), encoding="utf-8")


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
