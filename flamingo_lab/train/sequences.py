"""Training sequences as arrays: worked examples one after another, with a caption or a picture before each question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import torch
from torch import Tensor

from flamingo_lab.train.binding import episode
from flamingo_lab.train.language import EXTRA, NAMING, SPECIALS, asking, caption, question, shown, tokenizer_json
from flamingo_lab.train.pictures import KINDS

MOST = 9
"""Pictures of a sequence at most: eight shots and a question."""

QUESTION_WEIGHT = 0.1
"""How much the tokens of a question count against those of an answer."""


@dataclass(frozen=True)
class Example:
    """A thing of some kind, what is asked of it, and the answer; whether the answer can be known from what came before.

    `picture` is an index into a pool of pictures.
    """

    kind: int
    asked: str
    answer: str
    is_known: bool = True
    picture: int = -1


@dataclass(frozen=True)
class Batch:
    """ids, sees (B, T) int; weights (B, T) float, of each token as a target; pictures (B, I) int into the pool, 0 on padding."""

    ids: Tensor
    sees: Tensor
    weights: Tensor
    pictures: Tensor


Choose = Callable[[int, np.random.Generator], int]
"""A picture of the pool that shows the given kind."""


def naming(random: np.random.Generator, choose: Choose | None = None) -> list[Example]:
    """An episode of concept binding. A word's first occurrence cannot be known."""
    told = episode(random, int(random.integers(1, MOST)))
    examples: list[Example] = []
    met: set[int] = set()
    for which in told.order:
        kind = told.kinds[which]
        picture = choose(kind, random) if choose else -1
        examples.append(Example(kind, NAMING, told.words[which], which in met, picture))
        met.add(which)
    return examples


def questions(random: np.random.Generator, choose: Choose | None = None) -> list[Example]:
    """Questions of easy-VQA's forms, each about a thing of its own."""
    examples: list[Example] = []
    for _ in range(int(random.integers(1, MOST + 1))):
        kind = int(random.integers(len(KINDS)))
        asked, answer = question(KINDS[kind], random)
        examples.append(Example(kind, asked, answer, picture=choose(kind, random) if choose else -1))
    return examples


@cache
def _tokenizer() -> Callable[[str], list[int]]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(tokenizer_json())
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


@lru_cache(maxsize=100_000)
def encode(text: str) -> tuple[int, ...]:
    """Ids of a text that stands between special tokens, so that it starts with a mark."""
    return tuple(_tokenizer()(text))


@cache
def special(token: str) -> int:
    """The id of a special token."""
    (found,) = _tokenizer()(token)
    return found


def batch(sequences: Sequence[Sequence[Example]], *, with_pictures: bool) -> Batch:
    """Sequences as one batch, padded on the right. Without pictures each question stands behind a caption."""
    around, image, _ = (special(token) for token in EXTRA)
    rows: list[list[tuple[int, int, float]]] = []
    for examples in sequences:
        row = [(special(SPECIALS[1]), -1, 0.0)]
        for number, example in enumerate(examples):
            if with_pictures:
                row += [(around, number - 1, 0.0), (image, number, 0.0), (around, number, 0.0)]
            else:
                row += [(token, -1, QUESTION_WEIGHT) for token in encode(caption(KINDS[example.kind]))]
            whole = encode(shown(example.asked, example.answer))
            begin = len(encode(asking(example.asked)))
            seen = number if with_pictures else -1
            row += [(token, seen, QUESTION_WEIGHT) for token in whole[:begin]]
            row += [(token, seen, float(example.is_known)) for token in whole[begin:]]
        rows.append(row)
    length = max(map(len, rows))
    padded = np.array([row + [(0, -1, 0.0)] * (length - len(row)) for row in rows])
    most = max(map(len, sequences))
    pictures = [[max(e.picture, 0) for e in examples] + [0] * (most - len(examples)) for examples in sequences]
    return Batch(
        ids=torch.from_numpy(padded[..., 0].astype(np.int64)),
        sees=torch.from_numpy(padded[..., 1].astype(np.int64)),
        weights=torch.from_numpy(padded[..., 2].astype(np.float32)),
        pictures=torch.tensor(pictures),
    )
