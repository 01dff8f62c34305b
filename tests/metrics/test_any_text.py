"""Whatever a model answers, every variant of every metric gives a score in its range, the same each time, soon."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_tasks import metrics, postprocess
from eval_tasks.metrics import Figure, Item, Metric, Prediction, Targets

FACTS: dict[str, Any] = {
    "answer_type": "integer",
    "box": (0.0, 0.0, 10.0, 10.0),
    "entailed": (),
    "group": "animal",
    "is_balanced": True,
    "is_common": False,
    "plausible": ("cat",),
    "positive": 1,
    "precision": 1,
    "question_type": "free_form",
    "size": (640, 480),
    "structural": "query",
    "valid": ("cat", "dog"),
}
OPEN = Targets(("12", "a cat", *("dog",) * 8), (), {**FACTS, "answer_confidence": ("yes", *("maybe",) * 9)})
CHOICE = Targets(
    ("A",), ("a red cat", "12", "none of them"), {**FACTS, "question_type": "multi_choice", "answer_type": "text"}
)
BY_LABEL = Targets(("1",), (), FACTS)
TARGETS = (OPEN, CHOICE, BY_LABEL)

VARIANTS = [
    pytest.param(variant, TARGETS[::2] if metric == "grades" else TARGETS, id=f"{metric}-{name}")
    for metric in metrics.names()
    if metric not in ("captions", "spice")  # Java's, tested apart
    for name, variant in metrics.variants(metric).items()
]

TEXTS = st.text(alphabet=st.characters(exclude_categories=()), max_size=40) | st.sampled_from(
    [
        "",
        " ",
        "nan",
        "NaN",
        "-inf",
        "1e999",
        "\ud800",
        "\x00",
        "A",
        "(A)",
        "12",
        "yes",
        "no",
        "[1, 2, 3, 4]",
        "(1,2),(3,4)",
    ]
)

MEGABYTE = 1_000_000
ENDLESS = {
    "one word": "a",
    "blanks": " ",
    "digits": "1",
    "decimals": "1.1",
    "thousands": "1,111",
    "brackets": "(",
    "boxes": "(1,2),",
    "lists": "[1,",
    "lines": "\n",
    "full stops": ".",
    "articles": "the a ",
    "openings": 'The answer is "',
    "promises": "answer is ",
}
PIECE = 100_000
SECONDS = 20
"""A megabyte takes at most three seconds on an idle core; a tenth of it would take minutes in its square."""


def answered(text: str) -> Prediction:
    """With tags, since NLTK's data is not everywhere."""
    return Prediction(text, tags=((text, "NNS"),))


@pytest.mark.parametrize(("variant", "asked"), VARIANTS)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_a_score_is_a_share_and_the_same_each_time(variant: Metric, asked: Sequence[Targets], text: str) -> None:
    for targets in asked:
        first, again = (variant.outcome(answered(text), targets) for _ in range(2))
        assert 0 <= first.score <= 1
        assert (first.score, first.problem) == (again.score, again.problem)


@pytest.mark.parametrize(("variant", "asked"), VARIANTS)
@settings(max_examples=30, deadline=None)
@given(texts=st.lists(TEXTS, max_size=8))
def test_a_set_has_figures_or_says_that_it_has_none(
    variant: Metric, asked: Sequence[Targets], texts: list[str]
) -> None:
    items = [
        Item(answered(text), asked[number % len(asked)], str(number), str(number // 2))
        for number, text in enumerate(texts)
    ]
    outcomes = variant.outcomes(items)
    assert len(outcomes) == len(items)
    for figure in variant.figures(items, outcomes).values():
        assert figure.value is None or math.isfinite(figure.value)
        assert len(figure.parts) == len(figure.clusters)
        assert mean_of_parts_is_the_figure(figure)


def mean_of_parts_is_the_figure(figure: Figure) -> bool:
    """An interval from the parts has to be one around the figure."""
    if figure.value is None or not figure.parts:
        return True
    return math.isclose(sum(figure.parts) / len(figure.parts), figure.value, rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize(("variant", "asked"), VARIANTS)
def test_a_megabyte_is_read_in_time(variant: Metric, asked: Sequence[Targets]) -> None:
    texts = [piece * (PIECE // len(piece)) for piece in ENDLESS.values()]
    for text in ["\n".join(texts)[:MEGABYTE], *texts]:
        for targets in asked[:2]:
            began = time.process_time()
            variant.outcome(answered(text), targets)
            assert time.process_time() - began < SECONDS, text[:20]


@pytest.mark.parametrize("name", postprocess.VARIANTS)
def test_a_megabyte_is_cut_in_time(name: str) -> None:
    for piece in ENDLESS.values():
        began = time.process_time()
        postprocess.get(name)(piece * (MEGABYTE // len(piece)))
        assert time.process_time() - began < SECONDS, piece


@settings(deadline=None)
@given(TEXTS)
def test_cutting_never_adds_anything(text: str) -> None:
    for name, cut in postprocess.VARIANTS.items():
        given = text.replace('"', "") if name.endswith("unquoted") else text
        assert cut(text) in (given.lower() if name.endswith("gqa") else given)
