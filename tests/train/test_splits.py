"""Training never binds a word, or a pair of kinds, of shapes-binding's test split; the shipped split is what the code draws."""

from __future__ import annotations

import io
import itertools
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer
from torch import Tensor

from eval_tasks import task
from eval_tasks.tasks import shapes_binding
from flamingo_lab.train.binding import EPISODES, MOST_SHOTS, pairs
from flamingo_lab.train.language import TEST_SHARE, tokenizer_json, words
from flamingo_lab.train.pictures import COLOURS, KINDS, SHAPES
from flamingo_lab.train.sequences import picture_batches, text_batches
from tests.folders import ROOT

TRAIN, TEST = 0, 1
BATCHES, SIZE = 20, 32

Rows = Callable[[], Iterator[tuple[str, list[int]]]]

CAPTION = re.compile(rf"\ba ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})\b")


def pair(one: int, other: int) -> tuple[int, int]:
    return min(one, other), max(one, other)


def episodes() -> list[dict[str, Any]]:
    lines = (shapes_binding.FOLDER / "episodes.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def texts(ids: Tensor) -> list[str]:
    tokenizer = Tokenizer.from_str(tokenizer_json())
    return [tokenizer.decode(row) for row in ids.tolist()]


def invented(text: str) -> set[str]:
    """The words of either split that the text says."""
    return {word for split in words() for word in split} & set(re.findall(r"[a-z]+", text))


def test_the_splits_share_no_word_and_no_pair() -> None:
    assert not set(words()[TRAIN]) & set(words()[TEST])
    assert not set(pairs()[TRAIN]) & set(pairs()[TEST])
    every = [*pairs()[TRAIN], *pairs()[TEST]]
    assert sorted(every) == list(itertools.combinations(range(len(KINDS)), 2))


def test_the_shipped_episodes_use_words_and_pairs_of_the_test_split_alone() -> None:
    found = episodes()
    assert len(found) == EPISODES
    for told in found:
        assert set(told["words"]) <= set(words()[TEST])
        one, other = (KINDS.index((colour, shape)) for colour, shape in told["kinds"])
        assert pair(one, other) in pairs()[TEST]
        assert len({thing["image"] for thing in (*told["support"], told["query"])}) == MOST_SHOTS + 1


def test_the_task_asks_these_episodes() -> None:
    samples = task.get("shapes-binding").samples("test", None)
    assert [sample.targets[0] for sample in samples] == [told["words"][told["query"]["word"]] for told in episodes()]


def text_rows() -> Iterator[tuple[str, list[int]]]:
    """Rows of the language model's training as text, with the kinds that they caption."""
    for number in range(BATCHES):
        for batch in text_batches(np.random.default_rng(number), SIZE, number / BATCHES):
            for text in texts(batch.ids):
                yield text, [KINDS.index((colour, shape)) for colour, shape in CAPTION.findall(text)]


def picture_rows() -> Iterator[tuple[str, list[int]]]:
    """Rows of the last stage's training as text, with the kinds that they show."""
    image = Tokenizer.from_str(tokenizer_json()).token_to_id("<image>")
    for number in range(BATCHES):
        random = np.random.default_rng(number)
        # Each kind stands for its pictures.
        for batch in picture_batches(random, SIZE, lambda kind, random: kind):
            for text, ids, kinds in zip(texts(batch.ids), batch.ids, batch.pictures.tolist(), strict=True):
                yield text, kinds[: int((ids == image).sum())]  # without the padding


@pytest.mark.parametrize("rows", [text_rows, picture_rows])
def test_training_binds_words_and_pairs_of_the_training_split_alone(rows: Rows) -> None:
    said: set[str] = set()
    bound: set[tuple[int, int]] = set()
    for text, kinds in rows():
        of_row = invented(text)
        said |= of_row
        if of_row and kinds:
            assert len(set(kinds)) <= len(of_row)
            bound |= {pair(*two) for two in itertools.combinations(set(kinds), 2)}
    assert said <= set(words()[TRAIN])
    assert bound <= set(pairs()[TRAIN])
    # So many were seen that dozens would be of the test split, had training drawn from both.
    assert len(said) > 50 * TEST_SHARE
    assert len(bound) > len(pairs()[TRAIN]) / 2


def test_the_command_reproduces_what_is_shipped(tmp_path: Path) -> None:
    """The episodes byte by byte; the pictures pixel by pixel, since their compression is the libraries'."""
    command = [sys.executable, "-m", "flamingo_lab.train.binding", str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT).returncode == 0
    shipped = shapes_binding.FOLDER
    assert (tmp_path / "episodes.jsonl").read_bytes() == (shipped / "episodes.jsonl").read_bytes()
    assert pixels(tmp_path / "pictures.zip") == pixels(shipped / "pictures.zip")


def pixels(file: Path) -> dict[str, tuple[tuple[int, int], bytes]]:
    """Sizes and decoded pixels of an archive's pictures, in its order."""
    with zipfile.ZipFile(file) as archive:
        opened = {name: Image.open(io.BytesIO(archive.read(name))) for name in archive.namelist()}
        return {name: (picture.size, picture.convert("RGB").tobytes()) for name, picture in opened.items()}
