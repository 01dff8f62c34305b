"""Seeds and wordings: means of what is comparable, with components of variance."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from leaderboards import table
from leaderboards.answered import Answered
from leaderboards.records import POINTS, Run, Score
from leaderboards.spread import component, deviation_interval, spreads
from leaderboards.store import Store
from tests.leaderboards.made import METRIC, drawn, finish
from tests.leaderboards.test_store import RUN, SCORE


def made(seed: int, runs: int, n: int, deviation: float) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (
        0.5
        + deviation * random.normal(size=(runs, 1))
        + random.normal(0, 0.3, (1, n))
        + random.normal(0, 0.2, (runs, n))
    )


def test_the_component_is_that_of_a_two_way_analysis_of_variance() -> None:
    scores = made(1, 4, 40, 0.2)
    found = component(Answered(scores, np.arange(40)))
    runs, questions = np.meshgrid(range(4), range(40), indexing="ij")
    frame = pd.DataFrame({"score": scores.ravel(), "run": runs.ravel(), "question": questions.ravel()})
    table = anova_lm(ols("score ~ C(run) + C(question)", frame).fit())
    squares = table["mean_sq"]
    assert found.deviation**2 == pytest.approx((squares["C(run)"] - squares["Residual"]) / 40)
    assert found.p_value == pytest.approx(table["PR(>F)"]["C(run)"], rel=1e-6)
    assert found.mean == pytest.approx(scores.mean())


def test_the_component_is_found_on_average_and_its_mean_holds_the_truth() -> None:
    found = [component(Answered(made(seed, 6, 100, 0.08), np.arange(100))) for seed in range(200)]
    assert np.mean([one.deviation**2 for one in found]) == pytest.approx(0.08**2, rel=0.15)
    inside = [abs(one.mean - 0.5) < 1.96 * one.stderr for one in found]
    assert 0.88 <= np.mean(inside) <= 0.99


def test_without_a_component_few_are_found() -> None:
    found = [component(Answered(made(seed, 4, 60, 0.0), np.arange(60))) for seed in range(200)]
    assert np.mean([one.p_value < 0.05 for one in found]) < 0.1
    assert np.median([one.deviation for one in found]) < 0.02


def test_questions_of_one_document_that_move_together_are_no_seed() -> None:
    random = np.random.default_rng(3)
    scores = np.repeat(random.normal(0.5, 0.3, (4, 12)), 10, axis=1)
    together = component(Answered(scores, np.repeat(np.arange(12), 10)))
    alone = component(Answered(scores, np.arange(120)))
    assert alone.p_value < 0.01 < together.p_value
    # The lone questions' error has hidden in a component that is none.
    assert together.stderr > 1.3 * alone.stderr and together.deviation < alone.deviation


def test_equal_runs_have_no_spread() -> None:
    scores = np.tile(np.random.default_rng(0).random(30), (3, 1))
    found = component(Answered(scores, np.arange(30)))
    assert (found.deviation, found.p_value) == (0.0, 1.0)


def test_the_interval_of_a_deviation_holds_it_95_times_of_100() -> None:
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(500):
        low, high = deviation_interval(float(random.normal(0, 2.0, 5).std(ddof=1)), 5)
        inside += low <= 2.0 <= high
    assert 0.92 <= inside / 500 <= 0.98


def test_runs_that_differ_only_in_seed_or_wording_are_put_together(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in range(3):
        finish(store, f"seed{seed}", {METRIC: drawn(seed, 200, 0.5 + 0.1 * seed)}, seed=seed, num_fewshot=4)
    for wording in ("a", "b"):
        facts = {"phrasing": wording, "settings": {"wording": wording}, "num_fewshot": 2}
        finish(store, wording, {METRIC: drawn(5, 200, 0.5)}, **facts)
    finish(store, "alone", {METRIC: drawn(6, 200, 0.5)}, dtype="bfloat16")
    seeds, wordings = spreads(store, store.runs())
    assert (seeds.over, {*seeds.members}, wordings.over) == ("seed", {"0", "1", "2"}, "phrasing")
    assert {*seeds.run_ids} == {"seed0", "seed1", "seed2"} and {*wordings.run_ids} == {"a", "b"}
    assert seeds.component is not None and seeds.component.p_value < 0.01
    assert seeds.low is not None and seeds.low < seeds.mean < (seeds.high or 0)
    assert seeds.std_low is not None and seeds.std_low < seeds.std < (seeds.std_high or 0)
    assert seeds.std == pytest.approx(float(np.std(seeds.values, ddof=1)))
    assert (seeds.least, seeds.most) == (min(seeds.values), max(seeds.values))
    assert json.loads(json.dumps(asdict(seeds)))["component"]["deviation"] == seeds.component.deviation


def test_seeds_that_score_alike_have_no_interval_of_width_0(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed in range(3):
        finish(store, f"seed{seed}", {METRIC: [1.0] * 100}, seed=seed)
    (found,) = spreads(store, store.runs())
    assert (found.std, found.std_low, found.std_high) == (0.0, None, None)
    assert found.low is not None and 0.9 < found.low < 1.0 == found.high
    assert table.spread_cells(found)[5] == "100.0, all alike"


def test_a_score_of_a_whole_set_has_a_deviation_but_no_component(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed, value in enumerate((0.3, 0.5)):
        whole = [Score("bleu", "official", "all", value, None, None, None, n=50)]
        finish(store, f"seed{seed}", {"bleu/official": drawn(seed, 50, 0.9)}, whole=whole, seed=seed)
    (found,) = spreads(store, store.runs())
    assert found.component is None and found.low is None
    assert found.std == pytest.approx(0.2 / 2**0.5)


def alone(name: str, value: float | None, **more: Any) -> Run:
    """A run whose samples are not there."""
    score = replace(SCORE, value=value, variant=more.pop("variant", SCORE.variant), unit=more.pop("unit", SCORE.unit))
    return replace(RUN, run_id=name, status=more.pop("status", "complete"), scores=(score,), **more)


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_the_mean_over_seeds_has_a_samples_standard_deviation(empty: Store) -> None:
    runs = [alone(f"r{seed}", value, seed=seed) for seed, value in enumerate((0.5, 0.6, 0.7))]
    (found,) = spreads(empty, runs)
    assert (found.over, found.members, found.values) == ("seed", ["0", "1", "2"], [0.5, 0.6, 0.7])
    assert (found.mean, found.std) == (pytest.approx(0.6), pytest.approx(0.1))
    assert (found.least, found.most, found.run_ids) == (0.5, 0.7, ["r0", "r1", "r2"])


def test_one_value_has_no_spread(empty: Store) -> None:
    assert spreads(empty, [alone("a", 0.5, seed=0)]) == []
    assert spreads(empty, [alone("a", 0.5, seed=0), alone("a", 0.5, seed=0)]) == []
    assert spreads(empty, [alone("a", 0.5, seed=0), alone("b", None, seed=1)]) == []


@pytest.mark.parametrize(
    "other",
    [
        {"model": "other"},
        {"model_digest": "other"},
        {"judge": "other"},
        {"variant": "other"},
        {"num_fewshot": 9},
        {"num_fewshot": 4, "shot_selection": "rices"},
        {"phrasing": "other"},
        {"split": "other"},
        {"dtype": "bfloat16"},
        {"limit": 100},
        {"decoding": "beam(beams=3)"},
        {"status": "too many errors"},
    ],
)
def test_only_what_is_comparable_is_averaged(other: dict[str, Any], empty: Store) -> None:
    base = alone("a", 0.5, seed=0, num_fewshot=4 if "shot_selection" in other else 0)
    assert [one for one in spreads(empty, [base, alone("b", 0.7, seed=1, **other)]) if one.over == "seed"] == []
    assert len(spreads(empty, [alone("a", 0.5, seed=0), alone("b", 0.7, seed=1)])) == 1


def test_answers_drawn_from_other_seeds_are_put_together(empty: Store) -> None:
    runs = [alone(f"r{seed}", 0.5, seed=seed, decoding=f"sample(temperature=1.0, seed={seed})") for seed in (0, 1)]
    assert [found.members for found in spreads(empty, runs)] == [["0", "1"]]


def test_a_wording_counts_with_the_mean_of_its_seeds(empty: Store) -> None:
    runs = [
        alone(f"{wording}{seed}", value, seed=seed, phrasing=wording)
        for wording, values in (("plain", (0.1, 0.3)), ("short", (0.5, 0.7)))
        for seed, value in enumerate(values)
    ]
    *over_seeds, over_wordings = spreads(empty, runs)
    assert over_wordings.members == ["plain", "short"]
    assert [round(value, 9) for value in over_wordings.values] == [0.2, 0.6]
    assert [found.members for found in over_seeds] == [["0", "1"], ["0", "1"]]


def test_a_wordings_component_is_that_of_its_seeds_means(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for wording, share in (("plain", 0.4), ("short", 0.8)):
        for seed in range(2):
            values = drawn(seed + 10 * len(wording), 300, share)
            finish(store, f"{wording}{seed}", {METRIC: values}, seed=seed, phrasing=wording)
    found = spreads(store, store.runs())[-1]
    assert found.over == "phrasing" and found.component is not None and found.component.p_value < 0.001
    assert found.component.mean == pytest.approx(found.mean)


def test_a_spread_is_a_line_below_its_runs(empty: Store) -> None:
    runs = [alone(f"r{seed}", value, seed=seed) for seed, value in enumerate((0.5, 0.612))]
    points = [
        alone(f"p{seed}", value, seed=seed, task="mme", unit=POINTS) for seed, value in enumerate((1500.0, 1510.0))
    ]
    stream = io.StringIO()
    Console(file=stream, width=190).print(
        table.rich_table(table.rows([*runs, *points]), spreads(empty, [*runs, *points]))
    )
    said = stream.getvalue()
    assert "55.6 ± 7.9 (50.0 to 61.2)" in said and "1505.0 ± 7.1 (1500.0 to 1510.0)" in said
    assert "2 seeds" in said and "0 shots, seed 1" in said
