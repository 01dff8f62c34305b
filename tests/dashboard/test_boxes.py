"""Boxes on pictures: in the notation that scored them, as shares of the picture, whatever an answer holds."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dashboard.boxes import answered, searches
from eval_tasks import runner, task
from eval_tasks.boxes import NOTATIONS
from eval_tasks.plan import Settings
from leaderboards.store import Store
from tests.dashboard.made import TRACE
from tests.doubles import Scripted
from tests.tasks.benchmarks import BUILDERS, FILES, captions

SIZE = (400, 200)
BOX = (40, 50, 200, 150)


@pytest.mark.parametrize("notation", [*NOTATIONS])
def test_a_box_is_read_in_each_notation_that_tasks_ask_for(notation: str) -> None:
    said = NOTATIONS[notation](BOX, SIZE)
    target, predicted = answered(f"It is {said}.", ["[40, 50, 200, 150]"], [notation], SIZE)
    assert (target.whose, predicted.whose) == ("target", "predicted")
    assert target[1:5] == (0.1, 0.25, 0.5, 0.75)
    assert predicted[1:5] == pytest.approx(target[1:5], abs=0.01)


@pytest.mark.parametrize("wording", [wording.name for wording in task.get("refcoco").wordings])
def test_a_run_keeps_both_boxes_of_every_question(wording: str, tmp_path: Path) -> None:
    assert captions  # it registers the builder
    tiny = BUILDERS["refcoco", FILES](tmp_path / "data")
    found = task.get("refcoco")
    right = {one.id: one for one in found.samples(tiny.split, tmp_path / "data")}
    model = Scripted(lambda request: found.wording(wording).answered(right[request.id]))
    settings = Settings(split=tiny.split, data=tmp_path / "data", wording=wording)
    run = runner.run(model, found, settings, Store(tmp_path / "results"))
    rows = pq.read_table(tmp_path / "results" / "runs" / run.run_id / "samples.parquet").to_pylist()
    for row in rows:
        size = right[row["sample_id"]].facts["size"]
        variants = [name.partition("/")[2] for name, _ in row["scores"]]
        target, predicted = answered(row["answer"], row["targets"], variants, size)
        assert (target.whose, predicted.whose) == ("target", "predicted")
        assert predicted[1:5] == pytest.approx(target[1:5], abs=0.01)
        box = right[row["sample_id"]].facts["box"]
        assert target[1:5] == tuple(min(1, edge / side) for edge, side in zip(box, (*size, *size), strict=True))


@pytest.mark.parametrize("answer", ["", "no box", "[1, 2]", "[a, b, c, d]", "[" * 10_000, "[1,2,3,4" + "0" * 100_000])
def test_an_answer_without_a_box_draws_none(answer: str) -> None:
    assert answered(answer, [], ["xyxy"], SIZE) == []


def test_a_box_outside_of_the_picture_stays_at_its_edge() -> None:
    (box,) = answered("[-50, 0, 900, 900]", [], ["xyxy"], SIZE)
    assert box[1:5] == (0.0, 0.0, 1.0, 1.0)


def test_a_search_is_read_step_by_step() -> None:
    (search,) = searches(json.dumps(TRACE), (64, 48))
    assert (search.target, search.is_found, len(search.steps)) == ("blue cup", True, 2)
    assert search.steps[1].box[1:5] == (0, 0, 0.5, 0.5)
    assert (search.steps[1].priority, search.steps[1].confidence, search.steps[1].cue) == (5.5, 0.8, "the table")
    assert search.found[0].left == 10 / 64


@pytest.mark.parametrize(
    "trace",
    [
        "",
        "[]",
        "{",
        "null",
        '{"searches": 3}',
        '{"searches": [{}]}',
        '{"searches": [{"path": [{"patch": [1]}]}]}',
        None,
    ],
)
def test_a_trace_of_something_else_holds_no_search(trace: str | None) -> None:
    assert searches(trace, (64, 48)) == []
