"""Means over seeds and wordings: of what is comparable, of complete runs, and never of one run twice."""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict, replace
from typing import Any

from rich.console import Console

from leaderboards import table
from leaderboards.records import POINTS, Run
from leaderboards.repeats import spreads
from tests.leaderboards.test_store import RUN, SCORE


def made(name: str, value: float | None, **more: Any) -> Run:
    score = replace(SCORE, value=value, variant=more.pop("variant", SCORE.variant), unit=more.pop("unit", SCORE.unit))
    return replace(RUN, run_id=name, status=more.pop("status", "complete"), scores=(score,), **more)


def test_the_mean_over_seeds_has_a_samples_standard_deviation() -> None:
    runs = [made(f"r{seed}", value, seed=seed) for seed, value in enumerate((0.5, 0.6, 0.7))]
    (found,) = spreads(runs, "seed")
    assert (found.over, found.members, found.values) == ("seed", ["0", "1", "2"], [0.5, 0.6, 0.7])
    assert math.isclose(found.mean, 0.6) and math.isclose(found.std or 0, 0.1)
    assert (found.low, found.high, found.run_ids) == (0.5, 0.7, ["r0", "r1", "r2"])
    assert json.loads(json.dumps(asdict(found)))["std"] == found.std


def test_one_value_has_no_spread() -> None:
    assert spreads([made("a", 0.5, seed=0)], "seed") == []
    assert spreads([made("a", 0.5, seed=0), made("a", 0.5, seed=0)], "seed") == []
    assert spreads([made("a", 0.5, seed=0), made("b", None, seed=1)], "seed") == []


def test_only_what_is_comparable_is_averaged() -> None:
    base = made("a", 0.5, seed=0)
    others = {
        "model": made("b", 0.7, seed=1, model="other"),
        "weights": made("b", 0.7, seed=1, model_digest="other"),
        "judge": made("b", 0.7, seed=1, judge="other"),
        "variant": made("b", 0.7, seed=1, variant="other"),
        "shots": made("b", 0.7, seed=1, num_fewshot=9),
        "selection": made("b", 0.7, seed=1, shot_selection="rices"),
        "wording": made("b", 0.7, seed=1, phrasing="other"),
        "split": made("b", 0.7, seed=1, split="other"),
        "incomplete": made("b", 0.7, seed=1, status="too many errors"),
    }
    for why, other in others.items():
        assert spreads([base, other], "seed") == [], why
    assert len(spreads([base, made("b", 0.7, seed=1)], "seed")) == 1


def test_a_wording_counts_with_the_mean_of_its_seeds() -> None:
    runs = [
        made(f"{wording}{seed}", value, seed=seed, phrasing=wording)
        for wording, values in (("plain", (0.1, 0.3)), ("short", (0.5, 0.7)))
        for seed, value in enumerate(values)
    ]
    (over_wordings,) = spreads(runs, "phrasing")
    assert over_wordings.members == ["plain", "short"]
    assert [round(value, 9) for value in over_wordings.values] == [0.2, 0.6]
    assert [found.members for found in spreads(runs, "seed")] == [["0", "1"], ["0", "1"]]


def test_a_spread_is_a_line_below_its_runs() -> None:
    runs = [made(f"r{seed}", value, seed=seed) for seed, value in enumerate((0.5, 0.612))]
    points = [
        made(f"p{seed}", value, seed=seed, task="mme", unit=POINTS) for seed, value in enumerate((1500.0, 1510.0))
    ]
    stream = io.StringIO()
    Console(file=stream, width=190).print(
        table.rich_table(table.rows([*runs, *points]), spreads([*runs, *points], "seed"))
    )
    drawn = stream.getvalue()
    assert "55.6 ± 7.9 (50.0 to 61.2)" in drawn and "1505.0 ± 7.1 (1500.0 to 1510.0)" in drawn
    assert "2 seeds" in drawn and " seed┃" in drawn and "wording" not in drawn
