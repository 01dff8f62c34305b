"""Files of real predictions get the scores that were printed for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from eval_tasks import metrics, task
from eval_tasks.scoring import score_file
from eval_tasks.task import MetricName
from tests.folders import DATA

ORACLES = DATA / "ORACLES.json"


def oracles() -> list[Any]:
    entries = json.loads(ORACLES.read_text()) if ORACLES.is_file() else []
    names = [(entry, entry["flab"]) for entry in entries]
    here = [
        entry
        for entry, name in names
        if name["task"] in task.names()
        and name["metric"] in metrics.names()
        and (DATA / entry["predictions"]).is_file()
    ]
    return [pytest.param(entry, id=entry["id"]) for entry in here]


FOUND = oracles()


@pytest.mark.skipif(not FOUND, reason=f"no predictions under FLAB_DATA ({DATA})")
@pytest.mark.parametrize("oracle", FOUND)
def test_oracle(oracle: dict[str, Any]) -> None:
    name = MetricName(oracle["flab"]["metric"], oracle["flab"]["variant"])
    annotations = [DATA / oracle["annotations"]] if oracle["annotations"] else []
    found = score_file(task.get(oracle["flab"]["task"]), name, [DATA / oracle["predictions"]], annotations, None)
    by_slice = {score.slice: score for score in found}
    for part, expected in oracle["expected"].items():
        score = by_slice["all" if part == "overall" else f"split={part}"]
        assert score.value is not None
        assert score.value * 100 == pytest.approx(expected, abs=oracle["tolerance"]), part
