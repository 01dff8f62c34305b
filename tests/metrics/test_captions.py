"""Captions: Java's programs get one line a text whatever is in it, and there is one METEOR process."""

from __future__ import annotations

import shutil

import nltk
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_tasks import captions_java, metrics, okvqa_stems
from eval_tasks.captions_java import tokenise
from eval_tasks.errors import BadRow, MissingTool
from eval_tasks.metrics import Item, Prediction, Targets
from eval_tasks.scoring import mark
from eval_tasks.task import MetricName

PTB = MetricName("captions", "ptb")

needs_java = pytest.mark.skipif(shutil.which("java") is None, reason="no Java runtime here")


def captioned(text: str, *references: str, part: str = "") -> Item:
    return Item(Prediction(text), Targets(references), text, text, {"domain": part} if part else {})


def test_without_java_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingTool, match="no java on the PATH"):
        metrics.get("captions", "ptb").check()


def test_without_nltks_data_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nltk.data, "path", [])
    with pytest.raises(MissingTool, match="averaged_perceptron_tagger_eng"):
        okvqa_stems.check()


@needs_java
@settings(max_examples=5, deadline=None)
@given(st.lists(st.text(alphabet=st.characters(exclude_categories=()), max_size=20), min_size=1, max_size=40))
def test_every_text_keeps_its_place(texts: list[str]) -> None:
    marked = [part for text in texts for part in (text, "a marked text")]
    assert tokenise(marked)[1::2] == ["a marked text"] * len(texts)


@needs_java
def test_line_ends_of_any_kind_move_no_other_caption() -> None:
    texts = ["a\rcat", "", "a\u2028dog.", "  ", "bird\x0b\x0c", "\ud800", "U.S.", "The end"]
    assert tokenise(texts) == ["a cat", "", "a dog", "", "bird", "", "u.s.", "the end"]


@needs_java
def test_tokens_are_those_of_pycocoevalcaps_own_tokenizer() -> None:
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    texts = [
        "A man's dog (brown) isn't here...",
        "It's 10:30 p.m. in the U.S.",
        "The café cost $5.00/person -- 1 1/2 cups!",
        'x < y; "quoted" ‘text’ & so on, e.g. naïve',
        "etc.",
        "Émile Zola",
        "",
        "two\nlines",
        "#tag @home me@x.com http://a.b/c?d=e 50% off",
    ]
    theirs = PTBTokenizer().tokenize({n: [{"caption": text}] for n, text in enumerate(texts)})
    assert tokenise(texts) == [theirs[n][0] for n in range(len(texts))]


@needs_java
def test_a_slice_is_scored_as_a_set_of_its_own_by_one_meteor_process() -> None:
    first = [
        captioned("a cat on a mat", "a cat sits on a mat", part="in"),
        captioned("a dog", "the dog runs", part="in"),
    ]
    others = [captioned("a red bus", "a bus in the street", "a red bus", part="out")]
    whole = mark(PTB, first + others)
    alone = mark(PTB, first)
    in_domain = {one.metric: one.value for one in whole.scores if one.slice == "domain=in"}
    assert in_domain == {one.metric: one.value for one in alone.scores if one.slice == "all"}
    assert set(in_domain) == {"captions", *(f"captions.{name}" for name in ("METEOR", "ROUGE_L", *bleus()))}
    running = [child for child in psutil.Process().children() if "meteor-1.5.jar" in " ".join(child.cmdline())]
    assert len(running) == 1


def bleus() -> list[str]:
    return [f"Bleu_{n}" for n in (1, 2, 3, 4)]


@needs_java
def test_captions_of_a_megabyte_and_of_nothing_are_scored() -> None:
    items = [captioned("a ||| cat " * 100_000, "a cat", ""), captioned("", "a dog"), captioned("\x00", "|||")]
    for one in mark(PTB, items).scores:
        assert one.value is not None and 0 <= one.value <= 10
    assert captions_java.meteor().statistics("a cat", ["a cat"]).split()


@needs_java
def test_a_picture_without_references_is_refused() -> None:
    with pytest.raises(BadRow, match="no reference captions"):
        mark(PTB, [captioned("a cat")])
