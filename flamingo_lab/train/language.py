"""What the bundled model can say: captions, easy-VQA's questions, invented words, and the tokenizer for them."""

from __future__ import annotations

import hashlib
import json
import string
from functools import cache
from typing import Any

import numpy as np

from flamingo_lab.train.pictures import COLOURS, SHAPES, Kind

NAMING = "what is this?"
"""What is asked where an invented word is the answer."""

YES_NO = (
    "does the image contain a {thing}?",
    "is there a {thing}?",
    "is there a {thing} in the image?",
    "is a {thing} present?",
)
NO_YES = (
    "does the image not contain a {thing}?",
    "is there not a {thing}?",
    "is there not a {thing} in the image?",
    "is no {thing} present?",
)
OF_SHAPE = (
    "what shape is in the image?",
    "what shape does the image contain?",
    "what shape is present?",
    "what is the {colour} shape?",
)
OF_COLOUR = (
    "what color is the shape?",
    "what color is the {shape}?",
    "what is the color of the shape?",
    "what is the color of the {shape}?",
)

NEGATED = 0.2
"""Share of the negated among yes/no questions. With half of them neither the match nor the negation alone would predict
the answer, and neither would be learnt first.
"""

ASKS_ITSELF = 0.2
"""Share of the questions that ask for the shape or the colour itself; the others are answered by yes or no."""

ABOUT_SHAPES = 0.4
"""Share of the yes/no questions that are about shapes. There are more colours, so they take more practice."""

SYLLABLES = tuple(consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou")

TEST_SHARE = 8
"""One invented word in so many belongs to the test split."""

SPECIALS = ("<unk>", "<s>", "</s>")
EXTRA = ("<fake_token_around_image>", "<image>")


def caption(kind: Kind) -> str:
    """A picture in words: as many tokens as a picture's marks take."""
    return f"a {kind[0]} {kind[1]}"


def question(kind: Kind, random: np.random.Generator, negated: float = NEGATED) -> tuple[str, str]:
    """A question of easy-VQA's forms about a picture of this kind, and its answer. negated: this share of yes/no questions."""
    colour, shape = kind
    form = random.random()
    if form < ASKS_ITSELF / 2:
        return OF_SHAPE[random.integers(len(OF_SHAPE))].format(colour=colour), shape
    if form < ASKS_ITSELF:
        return OF_COLOUR[random.integers(len(OF_COLOUR))].format(shape=shape), colour
    is_there = random.random() < 0.5
    if random.random() < ABOUT_SHAPES:
        others = [name for name in SHAPES if name != shape]
        thing = shape if is_there else others[random.integers(len(others))]
    else:
        others = [name for name in COLOURS if name != colour]
        thing = f"{colour if is_there else others[random.integers(len(others))]} shape"
    is_negated = random.random() < negated
    forms = NO_YES if is_negated else YES_NO
    return forms[random.integers(len(forms))].format(thing=thing), "yes" if is_there != is_negated else "no"


@cache
def words() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Invented words of the training and of the test split: two syllables, each one token, split by a hash."""
    known = set(_vocabulary_words())
    train: list[str] = []
    test: list[str] = []
    for first in SYLLABLES:
        for second in SYLLABLES:
            if any(known_word.startswith(first) for known_word in known) or first == second:
                continue
            word = first + second
            is_test = hashlib.sha256(word.encode()).digest()[0] % TEST_SHARE == 0
            (test if is_test else train).append(word)
    return tuple(train), tuple(test)


def shown(asked: str, answer: str) -> str:
    """A worked example's text, as the base model's wording renders it."""
    return f"Question: {asked} Answer: {answer}\n"


def asking(asked: str) -> str:
    """A question's text up to where the answer begins."""
    return f"Question: {asked} Answer:"


def _vocabulary_words() -> tuple[str, ...]:
    """Every word of the captions and questions, in a fixed order."""
    text = " ".join((*YES_NO, *NO_YES, *OF_SHAPE, *OF_COLOUR, NAMING, *COLOURS, *SHAPES, "a yes no Question: Answer:"))
    for slot in ("{thing}", "{colour}", "{shape}", "?"):
        text = text.replace(slot, " ")
    return tuple(dict.fromkeys(text.split()))


@cache
def tokenizer_json() -> str:
    """A `tokenizer.json` in the form of LLaMA's, in which each known word and each syllable is one token.

    Blanks become marks, nothing splits the text beforehand, and what is unknown falls back to bytes.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers

    mark = "\u2581"
    pieces = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), mark]
    pieces += string.ascii_letters + string.digits + string.punctuation
    merges: list[tuple[str, str]] = []
    # Words are built from the left, before syllables, so that a known word is always whole.
    for word in (*(mark + word for word in _vocabulary_words()), *(mark + first for first in SYLLABLES), *SYLLABLES):
        for end in range(2, len(word) + 1):
            merges.append((word[: end - 1], word[end - 1]))
            pieces.append(word[:end])
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    model = models.BPE(
        vocab=vocabulary, merges=list(dict.fromkeys(merges)), unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(mark), normalizers.Replace(" ", mark)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(mark, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    for group in (SPECIALS, EXTRA):
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in group])
    return json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, indent=1)


def vocabulary_size() -> int:
    """Tokens of the frozen vocabulary, the extra ones not counted."""
    held: dict[str, Any] = json.loads(tokenizer_json())
    return len(held["model"]["vocab"])
