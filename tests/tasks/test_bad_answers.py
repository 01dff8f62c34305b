"""What goes wrong between a benchmark's files, a model's answers and a score: told, counted, never silently a zero."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import flamingo_lab as fl
from eval_tasks import plan as plans
from eval_tasks import runner, task
from eval_tasks.errors import BadRow, MissingData
from eval_tasks.metrics import Item, MetricName, Prediction, Targets
from eval_tasks.plan import Settings
from eval_tasks.scoring import mark
from flamingo_lab import cli
from leaderboards.records import Run
from leaderboards.store import Store
from tests.doubles import Scripted
from tests.tasks.benchmarks import BUILDERS, FILES, captions, choices, questions

assert captions and choices and questions  # they register their builders


def run(name: str, root: Path, reply: Callable[[fl.Request], str], **more: Any) -> tuple[Run, list[dict[str, Any]]]:
    BUILDERS[name, FILES](root)
    store = Store(root / "results")
    made = runner.run(Scripted(reply), task.get(name), Settings(data=root, **more), store)
    found = store.samples(made.run_id)
    return made, [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


# Answers


@pytest.mark.parametrize(
    "text", ["", " \n", "x" * 10**6, "\x00", "\ud800 half a pair", "\u2028", "NaN", "{text}", "[red]a[/red]"]
)
def test_any_text_is_scored_kept_and_gone_on_with(text: str, tmp_path: Path) -> None:
    made, records = run("vqav2", tmp_path, lambda request: text)
    assert (made.status, made.n, made.n_errors) == ("complete", 3, 0)
    kept = text.encode("utf-8", "replace").decode()
    assert [record["answer_raw"] for record in records] == [kept] * 3
    # What the journal holds is what a run that goes on reads.
    (folder,) = (tmp_path / "results" / "runs").iterdir()
    (folder / "run.json").unlink()
    model = Scripted(lambda request: pytest.fail("asked again"))
    again = runner.run(model, task.get("vqav2"), Settings(data=tmp_path), Store(tmp_path / "results"))
    assert (again.run_id, again.scores) == (made.run_id, made.scores)


def test_a_run_of_odd_answers_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, _ = run("vqav2", tmp_path, lambda request: "\ud800[red]\x1b[2J" + "x" * 10**5)
    assert cli.run(["show", "run", made.run_id[:8], "--results", str(tmp_path / "results")]) == 0
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out and len(out) < 20_000


@pytest.mark.parametrize("text", ["", "no box", "[1, 2, 3]", "(1,2),(3", "nan nan nan nan"])
def test_a_box_that_cannot_be_read_is_reported_as_unparsed(text: str, tmp_path: Path) -> None:
    made, records = run("refcoco", tmp_path, lambda request: text)
    first = made.scores[0]
    assert (first.metric, first.value, first.n, first.n_unparsed) == ("iou", 0.0, made.n, made.n)
    assert all(any(record["problems"].values()) for record in records)


class Ranking(Scripted):
    """Gives every option the same log-probability."""

    value: float = math.nan

    def answers(self, requests: Iterable[fl.Request]) -> Iterator[fl.Answer]:
        for request in requests:
            assert isinstance(request.decoding, fl.Rank)
            scores = (self.value,) * len(request.decoding.options)
            yield fl.Answer(request.id, text="", logprob=self.value, option_logprobs=scores, images=1)


@pytest.mark.parametrize("name", ["seed-bench", "vstar-bench"])
def test_scores_that_are_no_numbers_choose_nothing(name: str, tmp_path: Path) -> None:
    BUILDERS[name, FILES](tmp_path)
    made = runner.run(Ranking(), task.get(name), Settings(data=tmp_path), Store(tmp_path / "results"))
    assert (made.status, made.scores[0].value, made.scores[0].n_unparsed) == ("complete", 0.0, made.n)


@pytest.mark.parametrize("scores", [((math.nan,), (-1.0,)), ((-1.0,), (math.nan,)), ((-math.inf,), (-math.inf,))])
@pytest.mark.parametrize(("variant", "area"), [("probability", 0.5), ("idefics-m4", 0.75)])
def test_an_area_is_a_number_whatever_a_model_scores(variant: str, area: float, scores: Any) -> None:
    """What cannot be read is ranked last, and decided as the other label."""
    facts = {"positive": 1}
    given = [((-1.0,), (-2.0,)), ((-3.0,), (-0.1,)), scores]
    items = [
        Item(Prediction("", one), Targets((label,), ("no", "yes"), facts), str(number), str(number))
        for number, (one, label) in enumerate(zip(given, ("0", "1", "1"), strict=True))
    ]
    first = mark(MetricName("roc_auc", variant), items).scores[0]
    assert first.value == area
    assert first.n_unparsed == 1


def test_what_programs_read_is_json_to_the_letter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    BUILDERS["seed-bench", FILES](tmp_path)
    made = runner.run(Ranking(), task.get("seed-bench"), Settings(data=tmp_path), Store(tmp_path / "results"))

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    held = (tmp_path / "results" / "runs" / made.run_id / "run.json").read_text()
    assert json.loads(held, parse_constant=refuse)["n"] == made.n
    assert cli.run(["results", "table", "--results", str(tmp_path / "results"), "--every-slice", "--json"]) == 0
    for line in capsys.readouterr().out.splitlines():
        json.loads(line, parse_constant=refuse)


# The benchmark's files


def test_a_question_without_an_annotation_is_named(tmp_path: Path) -> None:
    BUILDERS["vqav2", FILES](tmp_path)
    (file,) = tmp_path.rglob("v2_mscoco_val2014_annotations.json")
    file.write_text(file.read_text().replace('"question_id": 9001', '"question_id": 9009'))
    with pytest.raises(
        BadRow, match=r"v2_OpenEnded_mscoco_val2014_questions\.json, question 1: .* no answers to the question 9001"
    ):
        task.get("vqav2").samples("val", tmp_path)


@pytest.mark.parametrize("name", ["vqav2", "hateful-memes", "mathvista"])
def test_a_question_that_occurs_twice_is_refused(name: str, tmp_path: Path) -> None:
    tiny = BUILDERS[name, FILES](tmp_path)
    found = task.get(name)
    samples = list(found.samples(tiny.split, tmp_path))

    class Twice(type(found)):
        def samples(self, split: str, data: Path | None) -> list[Any]:
            return [*samples, samples[0]]

    with pytest.raises(BadRow, match=r"two questions of the .* split have the same id; its files are damaged"):
        plans.plan(Scripted(), Twice(), Settings(data=tmp_path, split=tiny.split))


def test_half_a_surrogate_pair_in_a_question_costs_nothing(tmp_path: Path) -> None:
    BUILDERS["vqav2", FILES](tmp_path)
    (file,) = tmp_path.rglob("v2_OpenEnded_mscoco_val2014_questions.json")
    file.write_text(file.read_text().replace("What colour", "\\ud800 What colour"))
    store = Store(tmp_path / "results")
    made = runner.run(Scripted(), task.get("vqav2"), Settings(data=tmp_path), store)
    assert made.status == "complete"
    question = store.samples(made.run_id).project("question").fetchall()[0][0]
    assert question == "? What colour is the cup?"


def test_a_split_without_questions_is_told(tmp_path: Path) -> None:
    BUILDERS["vqav2", FILES](tmp_path)
    for kind in ("questions", "annotations"):
        for file in tmp_path.rglob(f"*val2014_{kind}.json"):
            file.write_text(json.dumps({kind: []}))
    with pytest.raises(MissingData, match="the val split holds no questions"):
        plans.plan(Scripted(), task.get("vqav2"), Settings(data=tmp_path))


def test_numbers_in_files_that_are_none(tmp_path: Path) -> None:
    BUILDERS["refcoco", FILES](tmp_path)
    file = tmp_path / "refcoco" / "instances.json"
    held = json.loads(file.read_text())
    held["annotations"][0]["bbox"] = [math.nan, 1, 2, 3]
    file.write_text(json.dumps(held))
    with pytest.raises(BadRow, match="bbox"):
        task.get("refcoco").samples("val", tmp_path)
