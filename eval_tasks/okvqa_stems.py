"""The stemmer with which OpenFlamingo brings answers to the form of OK-VQA's own stemmed ones (`ok_vqa_utils.py`).

A manual table goes first, then words in `-ing` become the verb's lemma, then plural nouns singular. The verbs are
WordNet 3.0's, in `data/wordnet_verbs.json`; its licence is named there.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from eval_tasks.errors import MissingTool

DATA = Path(__file__).parent / "data"
NEEDED = "pip install inflection nltk, then python -m nltk.downloader punkt_tab averaged_perceptron_tagger_eng"


def check() -> None:
    """Refuse where words could not be tagged."""
    tagged("a word")
    _singular("words")


def tagged(text: str) -> tuple[tuple[str, str], ...]:
    """The text's words with their parts of speech, as NLTK tells them."""
    try:
        import nltk

        return tuple(nltk.pos_tag(nltk.tokenize.word_tokenize(text)))
    except (ImportError, LookupError):
        raise MissingTool(f"OK-VQA's stemmer needs NLTK with two of its data sets: {NEEDED}") from None


def stemmed(words: Sequence[tuple[str, str]]) -> str:
    """The words stemmed, with one blank between them. Case counts: `Surfing` stays, `surfing` becomes `surf`."""
    return " ".join(_stem(word, tag) for word, tag in words)


def are_stems(text: str) -> bool:
    """Whether the stemmer leaves the words as they are, as far as it does not need to know parts of speech."""
    return all(_stem(word, "") == word for word in text.split())


def _stem(word: str, tag: str) -> str:
    manual = _table("okvqa_stem_table")["manual"]
    if word in manual:
        return manual[word]
    if word.endswith("ing"):
        return lemma(word)
    return _singular(word) if tag.startswith(("NNS", "NNPS")) else word


def lemma(word: str) -> str:
    """The verb that a form belongs to, the shortest where several are known; the word itself where none is."""
    table = _table("wordnet_verbs")
    endings = [word.removesuffix(old) + new for old, new in table["replacements"] if word.endswith(old)]
    known = [verb for verb in (word, *table["exceptions"].get(word, endings)) if verb in _verbs()]
    return min(known, key=len, default=word)


@cache
def _table(name: str) -> dict[str, Any]:
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


@cache
def _verbs() -> frozenset[str]:
    return frozenset(_table("wordnet_verbs")["verbs"].split())


def _singular(word: str) -> str:
    try:
        import inflection
    except ImportError:
        raise MissingTool(f"OK-VQA's stemmer needs the package inflection: {NEEDED}") from None
    return inflection.singularize(word)
