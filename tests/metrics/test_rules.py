"""Rules that official cases do not reach, and fast ways that have to equal the slow ones."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval_tasks import metrics, okvqa_stems, postprocess
from eval_tasks.edit_distance import edit_distance
from eval_tasks.errors import BadRow, UnknownTask
from eval_tasks.metrics import Figure, Item, Outcome, Prediction, Targets, iou, mathvista, mmmu, ratio_figure, roc_auc


def outcome(metric: str, variant: str, text: str, targets: Targets) -> Outcome:
    return metrics.get(metric, variant).outcome(Prediction(text), targets)


def figures(metric: str, variant: str, items: list[Item]) -> Mapping[str, Figure]:
    found = metrics.get(metric, variant)
    return found.figures(items, found.outcomes(items))


def slow_edit_distance(one: str, other: str) -> int:
    """By the table, a row at a time."""
    row = list(range(len(other) + 1))
    for number, letter in enumerate(one, 1):
        above, row[0] = row[0], number
        for place, sign in enumerate(other, 1):
            above, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, above + (letter != sign))
    return row[-1]


@settings(deadline=None)
@given(st.text("abc", max_size=12), st.text("abc", max_size=12))
def test_the_edit_distance_is_that_of_the_table(one: str, other: str) -> None:
    assert edit_distance(one, other) == slow_edit_distance(one, other)


@settings(max_examples=500, deadline=None)
@given(st.text("12.,-+e E", max_size=20))
def test_mmmu_finds_the_numbers_that_the_authors_patterns_find(text: str) -> None:
    scientific = re.findall(r"-?\d+(?:\.\d+)?[eE][+-]?\d+", text)
    simple = re.findall(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])", text)
    assert mmmu.SCIENTIFIC.findall(text) == scientific
    assert mmmu.SIMPLE.findall(text) == simple


@settings(max_examples=500, deadline=None)
@given(st.text("(),1a\n", max_size=20))
def test_qwen_vls_box_is_the_one_that_the_authors_pattern_finds(text: str) -> None:
    def by_pattern() -> list[float] | None:
        found = re.findall(r"\((.*?)\),\((.*?)\)", text)
        try:
            pairs = [[float(number) for number in corner.split(",")] for corner in found[0]]
        except (IndexError, ValueError):
            return None
        return [*pairs[0], *pairs[1]] if [*map(len, pairs)] == [2, 2] else None

    assert iou.corners(text) == by_pattern()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(['The answer is "', '".', "a", "\n", '"', "."]), max_size=8))
def test_mathvistas_quoted_answer_is_the_one_that_the_authors_pattern_finds(pieces: list[str]) -> None:
    text = "".join(pieces)
    found = re.search(r'The answer is "(.*)"\.', text)
    assert mathvista.quoted(text) == (found[1] if found else None)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=12))
def test_the_area_counts_pairs(scored: list[tuple[float, bool]]) -> None:
    items = [
        Item(Prediction(str(value)), Targets((str(int(label)),)), document=str(n))
        for n, (value, label) in enumerate(scored)
    ]
    pairs = [(one, other) for one, is_one in scored for other, is_other in scored if is_one and not is_other]
    found = roc_auc.area([value for value, _ in scored], items).value
    if not pairs:
        assert found is None
    else:
        assert found == pytest.approx(sum((one > other) + (one == other) / 2 for one, other in pairs) / len(pairs))


def test_probabilities_come_from_ranked_options() -> None:
    targets = Targets(("1",), ("no", "yes"), {"positive": 1})
    metric = metrics.get("roc_auc", "probability")
    found = metric.outcome(Prediction("", ((-2.0, -4.0), (-1.0, -3.0, -2.0))), targets)
    assert found.read == pytest.approx(1 / (1 + 2.718281828459045**-1))
    assert metric.outcome(Prediction("perhaps"), targets).problem == roc_auc.NO_NUMBER


def test_a_ratio_of_sums_has_parts_around_it() -> None:
    figure = ratio_figure([1.0, 0.0, 2.0], [2.0, 1.0, 2.0], ["a", "b", "c"])
    assert figure.value == pytest.approx(0.6)
    assert sum(figure.parts) / 3 == pytest.approx(0.6)
    assert ratio_figure([0.0], [0.0], ["a"]).value is None


def mme(*answers: tuple[str, str, str, str]) -> list[Item]:
    return [
        Item(Prediction(text), Targets((right,)), document=picture, slices={"category": category})
        for category, picture, text, right in answers
    ]


def test_mme_adds_questions_and_whole_pictures_by_category() -> None:
    items = mme(
        ("count", "a.png", "Yes, two.", "Yes"),
        ("count", "a.png", "No", "No"),
        ("count", "b.png", "yes", "Yes"),
        ("count", "b.png", "There is none", "No"),
        ("OCR", "a.png", "no", "Yes"),
        ("OCR", "a.png", "no", "No"),
    )
    found = figures("mme", "official", items)
    assert found[""].value == pytest.approx((75 + 50) + (50 + 0))
    assert found["accuracy"].value == pytest.approx(4 / 6)
    assert found["accuracy_plus"].value == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("text", "said"),
    [("yes", "yes"), ("NO", "no"), ("Not", "no"), ("A yes", None), (" yes", "yes"), ("no yes", "no"), ("", None)],
)
def test_mme_reads_the_first_four_letters(text: str, said: str | None) -> None:
    found = outcome("mme", "official", text, Targets(("Yes",)))
    assert (found.read, bool(found.problem)) == (said, said is None)


def test_grades_are_gathered_over_gradings() -> None:
    def graded(grading: str, grade: str, reference: str) -> Item:
        return Item(Prediction(grade), Targets((reference,)), document=grade, slices={"grading": grading})

    shares = figures("grades", "mean", [graded("1", "0.5", ""), graded("1", "1.0", ""), graded("2", "0.25", "")])
    assert shares[""].value == pytest.approx(1.75 / 3)
    assert shares["std"].value == pytest.approx(0.25)
    ratio = figures("grades", "ratio", [graded("1", "8", "10"), graded("1", "4", "5")])
    assert ratio[""].value == pytest.approx(12 / 15)
    unread = [graded("1", "4", "8"), graded("1", "-1", "-1")]
    assert figures("grades", "ratio", unread)[""].value == pytest.approx(1.5 / 3.5)
    thirds = figures("grades", "ratio", [graded("1", "1", "3"), graded("2", "0", "3"), graded("3", "0", "1")])[""]
    assert thirds.value == pytest.approx(0.333 / 2.333) == sum(thirds.parts) / 3, "its parts are rounded with it"
    assert outcome("grades", "ratio", "-1", Targets(("-1",))).problem == "no grade"
    assert (
        outcome("grades", "mean", "good", Targets(())).problem
        == outcome("grades", "mean", "1.5", Targets(())).problem
        != ""
    )


def test_containment_is_lenient_but_for_empty_targets() -> None:
    assert outcome("containment", "substring", "It says\nSTOP here", Targets(("stop",))).score == 1
    assert outcome("containment", "substring", "nothing", Targets(("no",))).score == 1
    assert outcome("containment", "substring", "nothing", Targets(("",))).score == 0


BOX = Targets((), facts={"box": (64.0, 96.0, 320.0, 384.0), "size": (640, 480)})


@pytest.mark.parametrize(
    ("variant", "text"),
    [
        ("xyxy", "[64, 96, 320, 384]"),
        ("unit", "at [0.1, 0.2, 0.5, 0.8]."),
        ("thousand", "[100, 200, 500, 800]"),
        ("fuyu", "<box>96, 64, 384, 320</box>"),
        ("qwen-vl", "<box>(99.9,199.8),(499.5,799.2)</box>"),
    ],
)
def test_each_notation_is_read_once_and_no_other(variant: str, text: str) -> None:
    for name in metrics.variants("iou"):
        found = outcome("iou", name, text, BOX)
        if name == variant:
            assert (found.score, found.problem) == (1.0, "")
            assert found.read.iou == pytest.approx(1.0, abs=1e-4)
        else:
            assert found.score == 0


def test_a_box_that_cannot_be_read_is_told_from_one_that_misses() -> None:
    assert outcome("iou", "xyxy", "somewhere left", BOX).problem == iou.NO_BOX
    assert outcome("iou", "xyxy", "[400, 400, 410, 410]", BOX).problem == ""
    with pytest.raises(BadRow, match="size"):
        outcome("iou", "unit", "[0.1, 0.2, 0.5, 0.8]", Targets((), facts={"box": (0, 0, 1, 1)}))


def test_mmmus_draw_goes_by_subject_and_is_reported() -> None:
    def asked(subject: str, text: str) -> Item:
        return Item(Prediction(text), Targets(("A",), ("x", "y", "z")), slices={"subject": subject})

    items = [asked("Physics", "?"), asked("Art", "?"), asked("Art", "A"), asked("Physics", "??")]
    drawn = metrics.get("mmmu", "official-draw").outcomes(items)
    draw = random.Random(42)
    art, physics, last = (draw.choice(["A", "B", "C"]) for _ in range(3))
    assert [one.read for one in drawn] == [physics, art, "A", last]
    assert [bool(one.problem) for one in drawn] == [True, True, False, True]
    ours = metrics.get("mmmu", "official").outcomes(items)
    assert [(one.score, one.problem) for one in ours] == [(0, "no letter"), (0, "no letter"), (1, ""), (0, "no letter")]


def test_a_choice_that_the_authors_draw_is_wrong_and_unparsed() -> None:
    targets = Targets(("A",), ("x", "y"))
    assert outcome("choice", "scienceqa", "A", targets) == Outcome(0.0, None, "no letter")
    assert outcome("choice", "scienceqa", "The answer is D.", targets) == Outcome(0.0, "D", "no such option")


def test_options_that_were_not_ranked_are_told() -> None:
    assert outcome("rank", "mean", "A", Targets(("A",))).problem == "not ranked"
    metric = metrics.get("rank", "sum")
    assert metric.outcome(Prediction("", ((float("nan"),), (-3.0, -1.0), ())), Targets(("B",))).score == 1


def test_vizwiz_counts_answers_that_there_is_none() -> None:
    items = [Item(Prediction(text), Targets(("unanswerable",) * 10)) for text in ("Unanswerable.", "a cup")]
    found = figures("vizwiz", "authors", items)
    assert (found[""].value, found["unanswerable"].value) == (0.5, 0.5)


def test_vizwiz_contractions_have_typographic_apostrophes() -> None:
    assert outcome("vizwiz", "authors", "dont know", Targets(("don't know",) * 10)).read == "don’t know"
    assert outcome("vizwiz", "authors", "cant", Targets(("can't",) * 10)).score == 1


def test_the_lemma_of_a_verb() -> None:
    words = ("surfing", "running", "flying", "ceiling", "xyzing")
    assert [okvqa_stems.lemma(word) for word in words] == ["surf", "run", "fly", "ceiling", "xyzing"]


def test_unknown_names_are_told_with_the_nearest() -> None:
    with pytest.raises(UnknownTask, match="did you mean anls"):
        metrics.get("anl", "rrc")
    with pytest.raises(UnknownTask, match="there are rrc"):
        metrics.get("anls", "rcc")
    with pytest.raises(UnknownTask, match=r"'idefics-vqaa': did you mean idefics-vqa( or \S+)*\?$"):
        postprocess.get("idefics-vqaa")
    with pytest.raises(UnknownTask, match=r"'foo': there are openflamingo-vqa, .*, qwen-vl-gqa$"):
        postprocess.get("foo")


@pytest.mark.parametrize("metric", metrics.names())
def test_every_variant_says_in_a_line_what_it_is(metric: str) -> None:
    assert all(
        variant.about.endswith((".", ":")) or len(variant.about) > 20 for variant in metrics.variants(metric).values()
    )
