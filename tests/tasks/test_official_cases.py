"""Metrics against the results of the official scorers on tricky answers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from eval_tasks import metrics
from eval_tasks.metrics import Prediction, Targets
from tests.folders import CASES

NAMES = Path(__file__).with_name("official_names.csv")
"""Which of our metrics and variants each result in the cases' files belongs to."""


def cases() -> list[Any]:
    with NAMES.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["metric"] in metrics.names()]
    found: list[Any] = []
    for row in rows:
        file = CASES / f"{row['file']}.jsonl"
        lines = file.read_text().splitlines() if file.is_file() else []
        for case in map(json.loads, lines):
            is_main = row["file_variant"] != "" and row["what_is_compared"] == "score"
            if not is_main and row["also_key"] not in case["also"]:
                continue
            expected = case["score"] if is_main else case["also"][row["also_key"]]
            name = f"{case['id']}-{row['variant']}"
            found.append(pytest.param(row["metric"], row["variant"], case, expected, id=name))
    return found


FOUND = cases()


@pytest.mark.skipif(not FOUND, reason=f"no official cases under FLAB_CASES ({CASES})")
@pytest.mark.parametrize(("metric", "variant", "case", "expected"), FOUND)
def test_official_case(metric: str, variant: str, case: dict[str, Any], expected: float) -> None:
    score = metrics.get(metric, variant)
    assert score.outcome(Prediction(case["prediction"]), Targets(tuple(case["targets"]))).score == expected, case["why"]
