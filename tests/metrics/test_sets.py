"""Sets: what counts, what has no answer, what is refused, and what of it reaches a run's record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import flamingo_lab as fl
from eval_tasks import metrics, runner, scoring
from eval_tasks.errors import PartialSet
from eval_tasks.metrics import Item, Prediction, Targets, gqa_suite
from eval_tasks.phrasing import PLAIN
from eval_tasks.plan import Settings
from eval_tasks.scoring import Marked, mark
from eval_tasks.task import MetricName, Sample, Task
from leaderboards.records import Score
from leaderboards.store import Store
from tests.doubles import Scripted

POPE = MetricName("pope", "official")
MME = MetricName("mme", "official")
CIRCULAR = MetricName("mmbench", "circular")


def answered(text: str, right: str, category: str, document: str = "", *, has_answer: bool = True) -> Item:
    return Item(Prediction(text), Targets((right,)), "", document, {"category": category}, has_answer)


def score(marked: Marked, metric: str, part: str = "all") -> Score:
    (found,) = [one for one in marked.scores if (one.metric, one.slice) == (metric, part)]
    return found


def test_a_metric_gives_all_its_figures_on_the_whole_and_on_every_slice() -> None:
    items = [
        answered("yes", "yes", "random", "a"),
        answered("no", "yes", "random", "b"),
        answered("yes", "yes", "popular", "a"),
        answered("yes", "no", "popular", "c"),
    ]
    marked = mark(POPE, items)
    assert score(marked, "pope").value == pytest.approx(4 / 6)
    assert score(marked, "pope", "category=random").value == pytest.approx(2 / 3)
    assert score(marked, "pope.precision", "category=popular").value == pytest.approx(1 / 2)
    low, high = score(marked, "pope").low, score(marked, "pope").high
    assert low is not None and high is not None and low < 4 / 6 < high


def test_the_whole_can_be_the_mean_of_its_slices_for_every_figure() -> None:
    items = [answered("yes", "yes", "random"), answered("yes", "yes", "popular"), answered("no", "yes", "popular")]
    marked = mark(POPE, items, ("category=random", "category=popular"))
    assert score(marked, "pope").value == pytest.approx((1 + 2 / 3) / 2)
    assert score(marked, "pope.recall").value == pytest.approx((1 + 1 / 2) / 2)


def test_a_part_without_a_value_leaves_the_whole_as_it_is() -> None:
    items = [answered("yes", "yes", "random"), answered("no", "no", "popular"), answered("yes", "no", "random")]
    marked = mark(POPE, items, ("category=random", "category=popular"))
    assert score(marked, "pope", "category=popular").value is None
    assert score(marked, "pope").value == pytest.approx(2 / 3)


def test_a_question_without_an_answer_takes_no_part_and_is_counted() -> None:
    items = [answered("yes", "yes", "random"), answered("", "yes", "random", has_answer=False)]
    marked = mark(POPE, items)
    assert marked.outcomes[1] is None
    found = score(marked, "pope", "category=random")
    assert (found.value, found.n, found.n_errors) == (1.0, 1, 1)


def test_answers_that_could_not_be_read_are_wrong_and_counted() -> None:
    items = [answered("yes", "yes", "count", "a"), answered("I see a dog", "yes", "count", "a")]
    found = score(mark(MME, items), "mme.accuracy")
    assert (found.value, found.n, found.n_unparsed) == (0.5, 2, 1)


def test_nothing_answered_has_no_value() -> None:
    for name in (POPE, MME, CIRCULAR, MetricName("gqa_suite", "official")):
        found = mark(name, [answered("", "yes", "random", has_answer=False)])
        assert (found.scores[0].value, found.scores[0].n, found.scores[0].n_errors) == (None, 0, 1)


def test_a_circular_question_counts_once_and_only_if_every_rotation_is_right() -> None:
    def asked(question: str, rotation: int, text: str, right: str) -> Item:
        return Item(Prediction(text), Targets((right,), ("cat", "dog"), {"rotation": rotation}), "", question)

    items = [asked("1", 0, "A", "A"), asked("2", 0, "dog", "B"), asked("1", 1, "A", "B"), asked("2", 1, "A.", "A")]
    marked = mark(CIRCULAR, items)
    assert (score(marked, "mmbench").value, score(marked, "mmbench").n) == (0.5, 2)
    assert score(marked, "mmbench.vanilla").value == 1.0
    assert score(marked, "mmbench.all_rows").value == 0.75
    assert mark(MetricName("mmbench", "vanilla"), items).scores[0].value == 1.0


def test_consistency_is_unknown_where_an_entailed_question_was_not_asked() -> None:
    record = {
        "question": "Is it red?",
        "isBalanced": True,
        "types": {"structural": "verify", "semantic": "attr", "detailed": "verifyAttr"},
        "semantic": [{"operation": "select", "argument": "cup"}],
        "groups": {"global": None},
        "entailed": ["2"],
    }
    suite = gqa_suite
    items = [Item(Prediction("yes"), Targets(("yes",), facts=suite.facts(record, None)), "1")]
    marked = mark(MetricName("gqa_suite", "official"), items)
    values = {one.metric: one.value for one in marked.scores}
    assert values["gqa_suite"] == 1.0
    assert {name for name, value in values.items() if value is None} == {
        "gqa_suite.consistency",
        "gqa_suite.validity",
        "gqa_suite.plausibility",
        "gqa_suite.distribution",
    }


class YesOrNo(Task):
    """Two questions about each of three things."""

    name = "yes-or-no"
    title = "a double"
    paper = source = licence = ""
    metrics = (MME, MetricName("exact_match", "strip-lower"))
    wordings = (PLAIN,)

    def samples(self, split: str, data: Path | None) -> Sequence[Sample]:
        return [
            Sample(f"{thing}-{right}", (), f"Is it {right}?", (right,), thing, slices={"category": "count"})
            for thing in ("a", "b", "c")
            for right in ("yes", "no")
        ]


def test_a_run_records_all_figures_and_what_could_not_be_read(tmp_path: Path) -> None:
    def reply(request: fl.Request) -> str:
        return "who knows" if request.id == "b-no" else request.id.split("-")[1]

    store = Store(tmp_path)
    run = runner.run(Scripted(reply), YesOrNo(), Settings(), store)
    found = {(one.metric, one.slice): one for one in run.scores}
    assert found["mme", "all"].value == pytest.approx(100 * 5 / 6 + 100 * 2 / 3)
    assert found["mme", "category=count"].n_unparsed == 1
    assert found["mme.accuracy_plus", "all"].value == pytest.approx(2 / 3)
    assert found["exact_match", "all"].value == pytest.approx(5 / 6)
    samples = store.samples(run.run_id)
    problems = {row[0]: dict(row[1]) for row in samples.select("sample_id, problems").fetchall()}
    assert problems["b-no"] == {"mme/official": "neither yes nor no"}
    assert problems["a-no"] == {}


def test_a_limited_run_is_refused_where_the_metric_needs_all(tmp_path: Path) -> None:
    model, store = Scripted(lambda request: "yes"), Store(tmp_path)
    with pytest.raises(PartialSet, match=r"mme/official .* --allow-partial"):
        runner.run(model, YesOrNo(), Settings(limit=2), store)
    assert not model.asked
    run = runner.run(model, YesOrNo(), Settings(limit=2, allow_partial=True), store)
    assert (run.n, run.scores[0].value) == (2, 50.0)


def test_metrics_that_need_the_whole_set_say_so() -> None:
    whole = {
        f"{metric}/{name}"
        for metric in metrics.names()
        for name, variant in metrics.variants(metric).items()
        if variant.needs_all
    }
    assert {"captions/ptb", "captions/raw", "pope/official", "roc_auc/probability", "mmbench/circular"} <= whole
    assert not {"vqa_accuracy/gt-vision-lab", "anls/rrc", "mmmu/official", "mmbench/vanilla"} & whole
    assert scoring.check(YesOrNo(), None, allow_partial=False) is None
