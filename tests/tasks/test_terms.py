"""What each question adds to figures that are no means: added up it gives every stored figure again, whole and in slices."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import flamingo_lab as fl
from eval_tasks import metrics, runner, task
from eval_tasks.errors import MissingTool
from eval_tasks.metrics import Item, MetricName, Prediction, Targets
from eval_tasks.plan import Settings
from eval_tasks.rescore import rescore
from eval_tasks.scoring import Marked, mark
from leaderboards.compare import compare
from leaderboards.differences import Difference
from leaderboards.pairing import NO_TEST
from leaderboards.records import SampleRecord, Term, on_slice
from leaderboards.store import Store
from tests.doubles import Scripted
from tests.tasks.benchmarks import BUILDERS, FILES, choices


def added(terms: Sequence[Sequence[Term]]) -> float:
    """The sum over groups of the sums' ratios."""
    above: dict[str, float] = defaultdict(float)
    below: dict[str, float] = defaultdict(float)
    for held in terms:
        for term in held:
            above[term.group] += term.above
            below[term.group] += term.below
    return sum(above[group] / below[group] for group in above)


def assert_added_up(marked: Marked, items: Sequence[Item], expected: set[str]) -> None:
    """Every figure that has terms is theirs, on the whole and on slices; and those that are expected have some."""
    assert {key for held in marked.terms for key in held} >= expected
    checked: set[str] = set()
    for score in marked.scores:
        name = f"{score.metric}/{score.variant}"
        inside = [n for n, one in enumerate(items) if score.slice == "all" or score.slice in _labels(one)]
        keys = (on_slice(name, score.slice), name)
        key = next((key for key in keys if any(key in marked.terms[n] for n in inside)), None)
        if key is not None and score.value is not None:
            found = added([marked.terms[n].get(key, []) for n in inside])
            assert found == pytest.approx(score.value), (name, score.slice)
            checked.add(key)
    assert checked >= expected


def _labels(item: Item) -> set[str]:
    return {f"{key}={value}" for key, value in item.slices.items()}


def yes_no(count: int, categories: Sequence[str], said: Sequence[str] = ("yes", "no", "unsure")) -> list[Item]:
    random = np.random.default_rng(3)
    return [
        Item(
            Prediction(str(random.choice(said, p=np.array([4, 3, 1][: len(said)]) / sum([4, 3, 1][: len(said)])))),
            Targets((("yes", "no")[number % 2],), facts={"questions": 2}),
            str(number),
            document=f"picture {number // 2}",
            slices={"category": categories[number // 2 % len(categories)]},
            has_answer=number % 17 != 5,
        )
        for number in range(count)
    ]


def test_f1_precision_and_recall_of_pope() -> None:
    items = yes_no(120, ["random", "popular"])
    figures = {f"pope{name}/official" for name in ("", ".precision", ".recall", ".yes_ratio")}
    assert_added_up(mark(MetricName("pope", "official"), items), items, figures)


def test_points_of_mme_and_pictures_that_are_right_throughout() -> None:
    items = yes_no(120, ["OCR", "count", "color"])
    assert_added_up(mark(MetricName("mme", "official"), items), items, {"mme/official", "mme.accuracy_plus/official"})


def test_questions_of_mmbench_that_are_right_in_every_rotation() -> None:
    random = np.random.default_rng(4)
    items = [
        Item(
            Prediction(str(random.choice(["A", "B"], p=[0.8, 0.2]))),
            Targets(("A",), ("cat", "dog"), {"rotation": number % 2, "rotations": 2}),
            str(number),
            document=f"question {number // 2}",
            slices={"category": "ab"[number // 2 % 2]},
        )
        for number in range(80)
    ]
    expected = {"mmbench/circular", "mmbench.vanilla/circular"}
    assert_added_up(mark(MetricName("mmbench", "circular"), items), items, expected)


def test_the_area_under_a_curve_on_the_whole_and_on_slices() -> None:
    random = np.random.default_rng(5)
    items = [
        Item(
            Prediction(f"{random.random():.3f}"),
            Targets((str(number % 2),)),
            str(number),
            document=str(number),
            slices={"kind": "ab"[number // 40]},
        )
        for number in range(80)
    ]
    variant = next(iter(metrics.variants("roc_auc")))
    name = f"roc_auc/{variant}"
    assert_added_up(
        mark(MetricName("roc_auc", variant), items), items, {name, on_slice(name, "kind=a"), on_slice(name, "kind=b")}
    )


def test_cider_of_a_slice_which_weighs_words_by_its_own_references() -> None:
    things = ("a red bus", "two dogs on grass", "a cat", "a man rides a horse", "the sea at night", "a bowl of soup")
    items = [
        Item(
            Prediction(things[number % 6] if number % 4 else "a dog"),
            Targets((f"{things[number % 6]} here", things[(number + 1) % 6])),
            str(number),
            str(number),
            {"domain": ("near", "out")[number % 2]},
        )
        for number in range(12)
    ]
    name = MetricName("captions", "raw")
    expected = {"captions.ROUGE_L/raw", *(on_slice("captions/raw", f"domain={one}") for one in ("near", "out"))}
    try:
        metrics.get(name.metric, name.variant).check()
    except MissingTool as error:
        pytest.skip(str(error))
    assert_added_up(mark(name, items), items, expected)


def test_a_mean_of_scores_needs_no_terms() -> None:
    items = [Item(Prediction("red"), Targets(("red", "blue")), str(n), str(n), {"kind": "ab"[n % 2]}) for n in range(8)]
    marked = mark(MetricName("exact_match", "strip-lower"), items)
    assert not any(marked.terms)


def test_two_runs_of_mme_are_compared_and_old_ones_after_a_rescore(tmp_path: Path) -> None:
    BUILDERS["mme", FILES](tmp_path)
    store = Store(tmp_path / "results")

    def seeing(request: fl.Request) -> str:
        return "yes" if choices.DOG in str(request.prompt.turns[-1].parts[-1]) else "no"

    models = Scripted(lambda request: "yes", digest="always yes"), Scripted(seeing, digest="sees")
    runs = [runner.run(model, task.get("mme"), Settings(data=tmp_path), store) for model in models]
    ids = [run.run_id for run in runs]
    values = [run.scores[0].value or 0.0 for run in runs]

    def compared() -> Difference:
        return compare(store, *ids, metrics=["mme"], slices=["all"]).differences[0]

    found = compared()
    assert values == [700.0, 2800.0]
    assert (found.a, found.b) == (pytest.approx(values[0]), pytest.approx(values[1]))
    assert found.is_sure and found.low is not None and found.low > 0
    for run in runs:
        rows = store.samples(run.run_id)
        old = [replace(SampleRecord.of_row(rows.columns, row), terms={}) for row in rows.fetchall()]
        with store.begin(run.run_id) as folder:
            folder.finish(run, old)
    assert compared().reason.startswith(NO_TEST)
    for run_id in ids:
        assert rescore(store, run_id).aside is not None
    assert compared() == found
