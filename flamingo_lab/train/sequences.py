"""Training sequences: worked examples one after another, with a caption or a picture before each question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from flamingo_lab.train.binding import episode, pairs
from flamingo_lab.train.language import (
    EXTRA,
    NAMING,
    NEGATED,
    SPECIALS,
    asking,
    caption,
    question,
    shown,
    tokenizer_json,
    words,
)
from flamingo_lab.train.pictures import KINDS

MOST = 9
"""Pictures of a sequence at most: eight shots and a question."""

QUESTION_WEIGHT = 0.1
"""How much the tokens of a caption or question count against those of an answer."""

GROUPS = 4
"""Batches that a step's rows are parted into, by length."""

NOTHING = -1
"""What a token sees that sees no picture."""


class Token(NamedTuple):
    """A token, which of the sequence's pictures it sees, and its weight as a target."""

    id: int
    sees: int
    weight: float


Row = list[Token]


@dataclass(frozen=True)
class Example:
    """A thing of some kind, what is asked of it, and the answer; whether the answer can be known from what came before.

    `picture` is an index into a pool of pictures. `is_new` is False for a further question about the thing before.
    """

    kind: int
    asked: str
    answer: str
    is_known: bool = True
    picture: int = 0
    is_new: bool = True


@dataclass(frozen=True)
class Batch:
    """ids, sees (B, T) int; weights (B, T) float, of each token as a target; pictures (B, I) int into the pool, 0 on padding."""

    ids: Tensor
    sees: Tensor
    weights: Tensor
    pictures: Tensor


Choose = Callable[[int, np.random.Generator], int]
"""A picture of the pool that shows the given kind."""


def no_picture(kind: int, random: np.random.Generator) -> int:
    """For sequences of text alone."""
    return 0


def naming(random: np.random.Generator, choose: Choose = no_picture) -> list[Example]:
    """An episode of concept binding. A word's first occurrence cannot be known."""
    told = episode(random, int(random.integers(3, MOST)))
    examples: list[Example] = []
    met: set[int] = set()
    for which in told.order:
        kind = told.kinds[which]
        examples.append(Example(kind, NAMING, told.words[which], which in met, choose(kind, random)))
        met.add(which)
    return examples


def about_one(random: np.random.Generator, choose: Choose = no_picture, negated: float = NEGATED) -> list[Example]:
    """Several questions of easy-VQA's forms about one thing, this share of those with yes or no negated.

    Comparing a question with a thing is learnt here first: no other thing is there to confuse.
    """
    kind = int(random.integers(len(KINDS)))
    picture = choose(kind, random)
    asked = [question(KINDS[kind], random, negated) for _ in range(int(random.integers(2, 6)))]
    return [Example(kind, *held, picture=picture, is_new=not number) for number, held in enumerate(asked)]


def affirmed(random: np.random.Generator) -> list[Example]:
    """`about_one` without negation."""
    return about_one(random, negated=0.0)


def denied(random: np.random.Generator) -> list[Example]:
    """`about_one` with a quarter of the yes/no questions negated, once comparing is learnt.

    With half of them comparing is unlearnt again: then neither it nor the negation alone predicts the answer.
    """
    return about_one(random, negated=0.25)


def about_several(random: np.random.Generator, choose: Choose = no_picture) -> list[Example]:
    """One question of easy-VQA's forms about each of several things."""
    kinds = [int(random.integers(len(KINDS))) for _ in range(int(random.integers(1, MOST + 1)))]
    return [Example(kind, *question(KINDS[kind], random), picture=choose(kind, random)) for kind in kinds]


def worked(examples: Sequence[Example], *, with_pictures: bool) -> Row:
    """The examples as the base model's wording renders them, each new thing as its picture's marks or as its caption."""
    around, image = (special(token) for token in EXTRA)
    row = [Token(special(SPECIALS[1]), NOTHING, 0.0)]
    seen = NOTHING
    for example in examples:
        if example.is_new and with_pictures:
            row += [Token(around, seen, 0.0), Token(image, seen + 1, 0.0), Token(around, seen + 1, 0.0)]
            seen += 1
        elif example.is_new:
            row += _text(caption(KINDS[example.kind]), seen, QUESTION_WEIGHT)
        whole = encode(shown(example.asked, example.answer))
        begin = len(encode(asking(example.asked)))
        row += [Token(token, seen, QUESTION_WEIGHT) for token in whole[:begin]]
        row += [Token(token, seen, float(example.is_known)) for token in whole[begin:]]
    return row


def named_captions(random: np.random.Generator) -> Row:
    """Captions, each followed by the invented word for its kind, two to four kinds again and again; text only.

    Short and dense, this is where a language model first learns to bind. Any two kinds are a training pair.
    """
    of_pairs = set(pairs()[0])
    kinds: list[int] = []
    wanted = int(random.integers(2, 5))
    for kind in random.permutation(len(KINDS)).tolist():
        if all((min(kind, other), max(kind, other)) in of_pairs for other in kinds):
            kinds.append(kind)
        if len(kinds) == wanted:
            break
    names = _some_words(random, len(kinds))
    row = [Token(special(SPECIALS[1]), NOTHING, 0.0)]
    met: set[int] = set()
    for _ in range(int(random.integers(8, 18))):
        which = int(random.integers(len(kinds)))
        row += _text(caption(KINDS[kinds[which]]), NOTHING, QUESTION_WEIGHT)
        row += _text(names[which], NOTHING, float(which in met))
        met.add(which)
    return row


def repeated_words(random: np.random.Generator) -> Row:
    """Invented words said again in the same order; text only. Here copying is learnt."""
    names = _some_words(random, int(random.integers(3, 9)))
    row = [Token(special(SPECIALS[1]), NOTHING, 0.0)]
    for time in range(2 if len(names) > 5 else 3):
        for name in names:
            row += _text(name, NOTHING, float(time > 0))
    return row


def batches(rows: Sequence[Row], pictures: Sequence[Sequence[int]] | None = None) -> list[Batch]:
    """Rows of like length together, padded on the right, with the pictures of each one. In one batch half would be padding."""
    held = pictures or [()] * len(rows)
    by_length = sorted(range(len(rows)), key=lambda number: len(rows[number]))
    groups = np.array_split(by_length, min(GROUPS, len(rows)))
    return [_batch([rows[n] for n in group], [held[n] for n in group]) for group in groups]


def _batch(rows: Sequence[Row], pictures: Sequence[Sequence[int]]) -> Batch:
    length = max(map(len, rows))
    padded = np.array([row + [Token(0, NOTHING, 0.0)] * (length - len(row)) for row in rows])
    most = max(map(len, pictures))
    return Batch(
        ids=torch.from_numpy(padded[..., 0].astype(np.int64)),
        sees=torch.from_numpy(padded[..., 1].astype(np.int64)),
        weights=torch.from_numpy(padded[..., 2].astype(np.float32)),
        pictures=torch.tensor([[*held, *[0] * (most - len(held))] for held in pictures], dtype=torch.long),
    )


@dataclass(frozen=True)
class Phase:
    """What the language model reads from a share of its steps on: each sort of row with its likelihood.

    Short rows leave room for more: `rows` are as many as stand for one of the recipe's.
    """

    begins: float
    rows: float
    sorts: Mapping[Callable[[np.random.Generator], Row], float]


def _told(examples: Callable[[np.random.Generator], list[Example]]) -> Callable[[np.random.Generator], Row]:
    return lambda random: worked(examples(random), with_pictures=False)


_NAMING, _AFFIRMED, _DENIED, _ABOUT_SEVERAL = map(_told, (naming, affirmed, denied, about_several))

PHASES = (
    Phase(0.0, 1.5, {repeated_words: 0.3, named_captions: 0.4, _NAMING: 0.3}),
    Phase(0.2, 1.0, {repeated_words: 0.05, named_captions: 0.1, _NAMING: 0.1, _AFFIRMED: 0.75}),
    Phase(0.28, 1.0, {repeated_words: 0.05, named_captions: 0.1, _NAMING: 0.1, _DENIED: 0.75}),
    Phase(0.5, 1.0, {repeated_words: 0.1, named_captions: 0.15, _NAMING: 0.25, _DENIED: 0.2, _ABOUT_SEVERAL: 0.3}),
)
"""Copying and binding are learnt while attention is as it was initialised, comparing and then negating where little else is read,
and last to find the thing meant among several. In one mixture each of these was learnt late or never, as the seed would have it.
"""


def text_batches(random: np.random.Generator, size: int, progress: float) -> list[Batch]:
    """What the language model reads after this share of its steps."""
    phase = next(phase for phase in reversed(PHASES) if progress >= phase.begins)
    sorts = list(phase.sorts)
    drawn = random.choice(len(sorts), int(size * phase.rows), p=list(phase.sorts.values()))
    return batches([sorts[number](random) for number in drawn])


def picture_batches(random: np.random.Generator, size: int, choose: Choose) -> list[Batch]:
    """What the resampler and the gated blocks are trained on."""
    sorts = (naming, naming, about_one, about_several)
    held = [sorts[number](random, choose) for number in random.integers(len(sorts), size=size)]
    shown_pictures = [[example.picture for example in examples if example.is_new] for examples in held]
    return batches([worked(examples, with_pictures=True) for examples in held], shown_pictures)


def _some_words(random: np.random.Generator, count: int) -> list[str]:
    of_training = words()[0]
    return [of_training[number] for number in random.choice(len(of_training), count, replace=False)]


def _text(text: str, seen: int, weight: float) -> Row:
    return [Token(token, seen, weight) for token in encode(text)]


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
