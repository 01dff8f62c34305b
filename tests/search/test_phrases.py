"""Phrases through spaCy itself: a pipeline that was taught a few parses stands in the place of the published one."""

from __future__ import annotations

from pathlib import Path

import pytest
import spacy
from spacy.tokens import Doc
from spacy.training import Example

from flamingo_lab.errors import MissingPackage
from flamingo_lab.search import phrases
from flamingo_lab.search.phrases import PIPELINE, Token, cue

PARSES = {
    "on the wooden table": [
        Token("on", " ", "ADP", "ROOT", 0),
        Token("the", " ", "DET", "det", 3),
        Token("wooden", " ", "ADJ", "amod", 3),
        Token("table", "", "NOUN", "pobj", 0),
    ],
    "left of it": [
        Token("left", " ", "ADV", "ROOT", 0),
        Token("of", " ", "ADP", "prep", 0),
        Token("it", "", "PRON", "pobj", 1),
    ],
    "a chair near the old lamp": [
        Token("a", " ", "DET", "det", 1),
        Token("chair", " ", "NOUN", "ROOT", 1),
        Token("near", " ", "ADP", "prep", 1),
        Token("the", " ", "DET", "det", 5),
        Token("old", " ", "ADJ", "amod", 5),
        Token("lamp", "", "NOUN", "pobj", 2),
    ],
}
UPDATES = 200
"""At most; some thirty do."""


@pytest.fixture(autouse=True)
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """spaCy takes a folder of a pipeline's name before a package."""
    monkeypatch.chdir(tmp_path)
    phrases._pipeline.cache_clear()  # pyright: ignore[reportPrivateUsage]


def taught() -> spacy.Language:
    """A tagger and a parser that give the parses."""
    language = spacy.blank("en")
    language.add_pipe("morphologizer")
    language.add_pipe("parser", config={"min_action_freq": 1})
    examples = []
    for text, tokens in PARSES.items():
        words, blanks, parts, relations, heads = zip(*tokens, strict=True)
        parsed = Doc(language.vocab, words=words, spaces=[*map(bool, blanks)], pos=parts, deps=relations, heads=heads)
        examples.append(Example(language.make_doc(text), parsed))
    language.initialize(lambda: examples)
    for _ in range(UPDATES):
        language.update(examples)
        if all(
            [(word.pos_, word.dep_, word.head.i) for word in language(text)] == [token[2:] for token in tokens]
            for text, tokens in PARSES.items()
        ):
            return language
    raise AssertionError("the parses were not learnt")


def test_the_parse_is_spacys() -> None:
    taught().to_disk(PIPELINE)
    assert {text: phrases.spacy(text) for text in PARSES} == PARSES
    answer = "The cup is most likely to appear on the wooden table."
    assert cue(answer, "cup", phrases.spacy) == "wooden table"


def test_a_pipeline_that_is_not_installed_is_named() -> None:
    with pytest.raises(MissingPackage, match=f"{PIPELINE} is not installed.*spacy download"):
        phrases.spacy("on the table")
