"""Metrics against the rules as they are written down, on texts made of all that the rules look for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_tasks import metrics
from eval_tasks.metrics import HEADLINE, Item, Outcome, Prediction, Targets
from tests.metrics import written_definitions as written

PIECES = [
    *written.TABLES["punctuation_in_order"], *".:'%$&…",
    *("a", "an", "the", "The", "one", "two", "ten", "eleven", "none", "dont", "Im", "it's", "'s", "oclock", "maam"),
    *("0", "1", "12", "3.5", "1,000", ".5", "u.s.a.", "10%", "-5", "1e3", "nan", "inf", "1_000", "５"),
    *("A", "B", "C", "D", "E", "Z", "(A)", "(B)", "A. ", "The answer is B.", "answer is **C**", "yes", "no", "No", "not"),
    *("so ", "is ", "final ", "answer ", "=", "could be ", "a red apple", "cat", "Cat", "ß", "İ", "é"),
    *(" ", " ", "  ", "\n", "\t", "\r", "\u00a0", "\u2028"),
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=9).map("".join) | st.text(max_size=12)
PEOPLE = TEXTS.flatmap(
    lambda text: st.lists(
        st.sampled_from([text, text.lower(), text.strip(), f"{text}."]) | TEXTS, min_size=10, max_size=10
    )
)
OPTIONS = st.lists(
    st.sampled_from(["a red apple", "cat", "Cat", "12", "no", "the answer", "ß"]) | TEXTS, min_size=2, max_size=6
)
MORE = settings(max_examples=200, deadline=None)


def marked(metric: str, variant: str, text: str, targets: Sequence[str], choices: Sequence[str] = ()) -> Outcome:
    return metrics.get(metric, variant).outcome(Prediction(text), Targets(tuple(targets), tuple(choices)))


@pytest.mark.parametrize("variant", written.VQA)
@MORE
@given(people=PEOPLE, data=st.data())
def test_vqa_accuracy(variant: str, people: list[str], data: st.DataObject) -> None:
    answer = data.draw(st.sampled_from([*people, people[0].upper(), f" {people[0]}"]) | TEXTS)
    expected = written.VQA[variant](answer, people)
    assert math.isclose(marked("vqa_accuracy", variant, answer, people).score, expected, abs_tol=1e-9)
    if variant == "gt-vision-lab":
        uploaded = written.gt_vision_lab(written.evalai_text(answer), people)
        assert math.isclose(
            marked("vqa_accuracy", "gt-vision-lab-uploaded", answer, people).score, uploaded, abs_tol=1e-9
        )


@MORE
@given(people=PEOPLE, sure=st.lists(st.sampled_from(["yes", "maybe", "no"]), min_size=10, max_size=10), data=st.data())
def test_vizwiz_without_ids(people: list[str], sure: list[str], data: st.DataObject) -> None:
    answer = data.draw(st.sampled_from(people) | TEXTS)
    targets = Targets(tuple(people), facts={"answer_confidence": tuple(sure)})
    found = metrics.get("vizwiz", "openflamingo").outcome(Prediction(answer), targets).score
    expected = written.vizwiz_openflamingo(answer, list(zip(people, sure, strict=True)))
    assert math.isclose(found, expected, abs_tol=1e-9)


@pytest.mark.parametrize(
    ("variant", "rule"),
    [("rrc", written.anls_rrc), ("st-vqa", written.anls_st_vqa), ("pix2struct", written.anls_pix2struct)],
)
@MORE
@given(targets=st.lists(TEXTS, min_size=1, max_size=3), data=st.data())
def test_anls(variant: str, rule: written.Callable[..., float], targets: list[str], data: st.DataObject) -> None:
    near = st.builds(lambda text, more: text[: len(more)] + more, st.sampled_from(targets), TEXTS)
    answer = data.draw(near | TEXTS)
    found = marked("anls", variant, answer, targets)
    try:
        assert math.isclose(found.score, rule(answer, targets), abs_tol=1e-9)
    except ZeroDivisionError:
        assert found.problem == "division by zero"


@MORE
@given(target=TEXTS, data=st.data())
def test_relaxed_accuracy(target: str, data: st.DataObject) -> None:
    value = written.to_float(target)
    near = [str(value * share) for share in (0.95, 1.05, 0.9, -1)] if value is not None and math.isfinite(value) else []
    answer = data.draw(st.sampled_from([target.upper(), *near]) | TEXTS)
    assert marked("relaxed_accuracy", "pix2struct", answer, [target]).score == written.relaxed(target, answer)
    assert marked("relaxed_accuracy", "qwen-vl", answer, [target]).score == written.relaxed(answer.strip(), target)


@MORE
@given(TEXTS, OPTIONS)
def test_mmmus_letters(text: str, options: list[str]) -> None:
    found = marked("mmmu", "official", text, ["A"], options)
    assert found.read == written.mmmu_choice(text, options)
    assert bool(found.problem) == (found.read is None)


@MORE
@given(TEXTS, st.lists(TEXTS, min_size=1, max_size=2))
def test_mmmus_open_answers(text: str, targets: list[str]) -> None:
    assert marked("mmmu", "official", text, targets).score == written.mmmu_open(text, targets)


@MORE
@given(st.builds(str.__add__, st.sampled_from(["", *written.REFUSALS]), TEXTS), OPTIONS)
def test_mmbenchs_letters(text: str, options: list[str]) -> None:
    assert marked("mmbench", "inference", text, ["A"], options).read == written.mmbench(text, options)


@MORE
@given(TEXTS)
def test_popes_yes_and_no_and_scienceqas_letters(text: str) -> None:
    assert marked("pope", "official", text, ["yes"]).read == written.pope(text)
    assert marked("choice", "llava", text, ["A"]).read == written.scienceqa(text)


NUMBERS = st.integers(0, 640).map(float) | st.floats(0, 640, width=32)
BOXES = st.lists(NUMBERS, min_size=4, max_size=4)


@MORE
@given(BOXES, BOXES)
def test_boxes(one: list[float], other: list[float]) -> None:
    targets = Targets((), facts={"box": tuple(other), "size": (640, 640)})
    text = "[" + ", ".join(map(repr, one)) + "]"
    found = metrics.get("iou", "xyxy").outcome(Prediction(text), targets)
    try:
        expected = written.iou(one, other)
    except ZeroDivisionError:
        assert found.problem == "box without area"
        return
    areas = [abs((box[2] - box[0]) * (box[3] - box[1])) for box in (one, other)]
    if min(areas) > 1 and abs(expected) < 100:  # single precision, like the authors'
        assert math.isclose(found.read.iou, expected, rel_tol=1e-3, abs_tol=1e-3)


@MORE
@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])), min_size=2, max_size=12))
def test_the_area_under_the_curve(rows: list[tuple[int, float]]) -> None:
    labels, scores = zip(*rows, strict=True)
    items = [Item(Prediction(str(score)), Targets((str(label),)), str(n)) for n, (label, score) in enumerate(rows)]
    metric = metrics.get("roc_auc", "probability")
    found = metric.figures(items, metric.outcomes(items))[HEADLINE].value
    if len(set(labels)) < 2:
        assert found is None
    else:
        assert found is not None and math.isclose(found, written.roc_auc(labels, scores))
