"""Seeds and wordings as components of variance."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from leaderboards import spread
from leaderboards.answered import Answered
from leaderboards.records import Score
from leaderboards.spread import component, deviation_interval
from leaderboards.store import Store
from tests.leaderboards.made import METRIC, drawn, finish


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
    for wording in ("plain", "short-answer"):
        facts = {"phrasing": wording, "settings": {"wording": wording}, "num_fewshot": 4, "seed": 9}
        finish(store, wording, {METRIC: drawn(5, 200, 0.5)}, **facts)
    finish(store, "alone", {METRIC: drawn(6, 200, 0.5)}, dtype="bfloat16")
    found = {one.over: one for one in spread.spreads(store, store.runs())}
    assert {*found} == {"seed", "wording"}
    assert {*found["seed"].values} == {"seed0", "seed1", "seed2"}
    assert {*found["wording"].values} == {"plain", "short-answer"}
    seeds = found["seed"]
    assert seeds.component is not None and seeds.component.p_value < 0.01
    assert seeds.low is not None and seeds.low < seeds.mean < (seeds.high or 0)
    assert seeds.deviation_low < seeds.deviation < seeds.deviation_high
    assert seeds.deviation == pytest.approx(float(np.std([*seeds.values.values()], ddof=1)))


def test_a_score_of_a_whole_set_has_a_deviation_but_no_component(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for seed, value in enumerate((0.3, 0.5)):
        whole = [Score("pope", "official", "all", value, None, None, None, n=50)]
        finish(store, f"seed{seed}", {"pope/official": drawn(seed, 50, 0.9)}, whole=whole, seed=seed)
    (found,) = spread.spreads(store, store.runs())
    assert found.component is None and found.low is None
    assert found.deviation == pytest.approx(0.2 / 2**0.5)
