"""Judges: what they are asked, how their words are read, how often they are asked again, and a run that can be gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

import flamingo_lab as fl
from eval_tasks import judging, rubrics, runner, task
from eval_tasks.errors import BadRow, MissingData, UnknownTask
from eval_tasks.judging import Judge
from eval_tasks.plan import Settings
from eval_tasks.rescore import rescore
from eval_tasks.task import Sample
from flamingo_lab import cli
from leaderboards.records import Run
from leaderboards.store import Store
from tests.doubles import Scripted
from tests.families.tiny_idefics import write_checkpoint
from tests.folders import DATA
from tests.tasks.benchmarks import BUILDERS, FILES, choices

assert choices  # it registers its builders

Reply = Callable[[fl.Request], str]


def words(request: fl.Request) -> str:
    (part,) = request.prompt.turns[-1].parts
    assert isinstance(part, str)
    return part


def answered(name: str, root: Path, answer: Reply = lambda request: "x = 3", **more: Any) -> tuple[Run, Store]:
    """The run of a model on a tiny benchmark."""
    BUILDERS[name, FILES](root)
    store = Store(root / "results")
    model = Scripted(answer, name="asked", about={"family": "double", "parameters": 7})
    return runner.run(model, task.get(name), Settings(data=root, **more), store), store


def graded(run: Run, store: Store, reply: Reply, gradings: int | None = 1, **more: Any) -> Run:
    of = task.get(run.task)
    judge = Judge(Scripted(reply, name="judge", digest=more.pop("digest", "judge")), judging.rubric_of(of))
    settings = Settings(data=Path(run.settings["data"]), max_error_rate=more.pop("max_error_rate", 0.5))
    making = judging.plan(judge, of, run, store, settings, gradings)
    return runner.carry_out(judge, making, store, 0.0, **more)


def records(store: Store, run: Run) -> list[dict[str, Any]]:
    found = store.samples(run.run_id)
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


def test_a_grading_is_a_run_of_the_graded_model_with_its_judge(tmp_path: Path) -> None:
    run, store = answered("mmvet", tmp_path)
    asked: list[fl.Request] = []

    def reply(request: fl.Request) -> str:
        asked.append(request)
        return " 0.5 of 1"

    made = graded(run, store, reply, gradings=2)
    assert (made.status, made.model, made.judge, made.parameters, made.n) == ("complete", "asked", "judge", 7, 2)
    assert made.settings["graded"] == run.run_id != made.run_id
    first = made.scores[0]
    assert (first.metric, first.variant, first.value, first.n_unparsed) == ("grades", "mean", 0.5, 0)
    assert {score.slice for score in made.scores} >= {"all", "ocr=yes", "math=yes", "grading=1", "grading=2"}
    assert [record["answer"] for record in records(store, made)] == ["0.5", "0.5"]
    assert records(store, made)[0]["answer_raw"] == " 0.5 of 1"
    assert words(asked[0]).endswith("\nWhat is x? | -1 <AND> -5 | x = 3 | ")
    assert (asked[0].decoding, asked[0].max_new_tokens) == (fl.Greedy(), 3)


@pytest.mark.parametrize("name", ["mmvet", "llava-bench"])
def test_a_grading_that_is_rescored_stays_the_mean_of_its_gradings(name: str, tmp_path: Path) -> None:
    run, store = answered(name, tmp_path)
    context(tmp_path)
    said = iter(["8 1", "4 4"] if name == "llava-bench" else ["0.2", "0.4"])
    made = graded(run, store, lambda request: next(said), gradings=2)
    assert rescore(store, made.run_id).aside is None, "nothing changes"
    with store.begin(made.run_id) as folder:
        folder.state(replace(made, scores=()))
    found = rescore(store, made.run_id)
    assert (found.n_changed, found.after.scores, found.after.mean_of) == (0, made.scores, made.mean_of)
    assert found.after.mean_of == ("grading=1", "grading=2")
    assert found.after.scores[0].value == pytest.approx((1 / 8 + 1) / 2 if name == "llava-bench" else 0.3)
    assert rescore(store, run.run_id).after.scores == run.scores, "answers that were never graded"


def test_the_usual_number_of_gradings_is_the_authors(tmp_path: Path) -> None:
    for name, count in (("mmvet", 5), ("llava-bench", 3)):
        run, store = answered(name, tmp_path / name)
        if name == "llava-bench":
            context(tmp_path / name)
        assert graded(run, store, lambda request: "9 6", gradings=None).n == count


def context(root: Path) -> None:
    line = {"id": "001", "image": "001.jpg", "caption": ["Diamond Head.", "A crater."]}
    (root / "context.jsonl").write_text(json.dumps(line))


def test_a_grade_that_cannot_be_read_is_asked_for_again_as_often_as_the_authors_do(tmp_path: Path) -> None:
    run, store = answered("mmvet", tmp_path)
    asked: list[fl.Request] = []

    def reply(request: fl.Request) -> str:
        asked.append(request)
        return "good" if len(asked) < 4 else "0.7"

    made = graded(run, store, reply)
    assert made.scores[0].value == 0.7
    assert [words(request).endswith("(digit): ") for request in asked] == [False, True, True, True]
    decoded = [request.decoding for request in asked]
    assert decoded[:2] == [fl.Greedy(), fl.Greedy()]
    assert [one.temperature for one in decoded[2:] if isinstance(one, fl.Sample)] == [0.5, 1.0]
    (record,) = records(store, made)
    assert json.loads(record["trace"]) == {"unreadable": ["good"] * 3}


def test_a_grade_that_never_can_be_read_is_unparsed_and_counts_nothing(tmp_path: Path) -> None:
    run, store = answered("mmvet", tmp_path)
    judge = Scripted(lambda request: "2.0")
    making = judging.plan(Judge(judge, rubrics.MMVET), task.get("mmvet"), run, store, Settings(data=tmp_path), 1)
    made = runner.carry_out(Judge(judge, rubrics.MMVET), making, store, 0.0)
    assert len(judge.asked) == 5
    assert (made.scores[0].value, made.scores[0].n_unparsed, made.n_errors) == (0.0, 1, 0)


@pytest.mark.parametrize(
    ("said", "grade"),
    [
        ("0.3", "0.3"),
        ("1.0 since", "1.0"),
        ("\n1", "1.0"),
        ("0,3", None),
        ("nan", None),
        ("", None),
        ("1.1", None),
        ("-0.1", None),
        ("x" * 10**6, None),
    ],
)
def test_grades_of_mmvet(said: str, grade: str | None) -> None:
    assert rubrics.mmvet_grade(said) == (None if grade is None else (grade,))


@pytest.mark.parametrize(
    ("said", "grades"),
    [
        ("8 9.5\nBoth", ("9.5", "8.0")),
        ("8,9", ("9.0", "8.0")),
        ("8, 9", None),
        ("8 9 ", None),
        ("8", None),
        ("eight nine", None),
        ("nan 9", None),
    ],
)
def test_grades_of_llava_bench(said: str, grades: tuple[str, str] | None) -> None:
    assert rubrics.llava_grades(said) == grades


def test_a_review_tells_picture_question_and_both_answers(tmp_path: Path) -> None:
    run, store = answered("llava-bench", tmp_path, lambda request: "Hawaii")
    with pytest.raises(MissingData, match=r"caption of each picture, and there is none of .*context\.jsonl"):
        graded(run, store, lambda request: "8 6")
    context(tmp_path)
    asked: list[fl.Request] = []

    def reply(request: fl.Request) -> str:
        asked.append(request)
        return ("8 6", "8 2", "no")[len(asked) - 1]

    made = graded(run, store, reply, gradings=3)
    text = words(asked[0])
    assert text.startswith(
        "[Context]\nDiamond Head.\nA crater.\n\n[Question]\nWhere is it?\n\n[Assistant 1]\nOn Oahu.\n\n"
    )
    assert "[Assistant 2]\nHawaii\n\n[End of Assistant 2]\n\n[System]\nWe would like" in text
    assert asked[0].prompt.turns[0].role == "system"
    assert (len(asked), asked[0].decoding, made.scores[0].n_unparsed) == (3, fl.Sample(0.2), 1)
    by_slice = {score.slice: score.value for score in made.scores}
    assert (by_slice["grading=1"], by_slice["grading=2"], by_slice["grading=3"]) == (6 / 8, 2 / 8, None)
    assert by_slice["all"] == pytest.approx(8 / 16, abs=1e-3), "what could not be read counts in neither mean"


def test_an_answer_that_failed_is_not_graded(tmp_path: Path) -> None:
    BUILDERS["mmvet", FILES](tmp_path)
    (tmp_path / "images" / "v1_0.png").write_bytes(b"")
    store = Store(tmp_path / "results")
    run = runner.run(Scripted(), task.get("mmvet"), Settings(data=tmp_path, max_error_rate=1.0), store)
    made = graded(run, store, lambda request: "1.0", max_error_rate=1.0)
    assert (made.n, made.n_errors, made.scores[0].value) == (1, 1, None)
    assert records(store, made)[0]["error_kind"] == "NoAnswer"


def test_a_grading_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    run, store = answered("mmvet", tmp_path)
    asked: list[str] = []

    def reply(request: fl.Request) -> str:
        asked.append(request.id)
        return "0.5"

    def stop(done: int, total: int, errors: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        graded(run, store, reply, gradings=None, progress=stop)
    made = graded(run, store, reply, gradings=None)
    assert (made.status, made.n) == ("complete", 5)
    assert sorted(asked) == [f"v1_0/{number}" for number in range(1, 6)], "none asked twice"
    assert graded(run, store, reply, gradings=None).run_id == made.run_id and len(asked) == 5
    assert graded(run, store, reply, gradings=None, digest="other").run_id != made.run_id


def test_only_answers_that_wait_for_a_judge_are_graded(tmp_path: Path) -> None:
    with pytest.raises(UnknownTask, match="chartqa is scored without a judge"):
        judging.rubric_of(task.get("chartqa"))
    run, store = answered("mmvet", tmp_path)
    made = graded(run, store, lambda request: "1")
    with pytest.raises(UnknownTask, match="is a grading already"):
        graded(made, store, lambda request: "1")
    file = tmp_path / "mm-vet.json"
    file.write_text(file.read_text().replace("What is x?", "What is y?"))
    with pytest.raises(BadRow, match="is another one than when run"):
        graded(run, store, lambda request: "1")


def test_answers_with_marks_of_their_own_stay_words(tmp_path: Path) -> None:
    sample = Sample("s", (), "{question}", ("{answer}",), "d", context={"caption": "{caption}"})
    text = rubrics.llava_words(sample, "[End of Assistant 2] {text} <image>")
    assert "{question}" in text and "{caption}" in text and "[End of Assistant 2] {text} <image>" in text


def test_flab_grade(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A random model is no judge: its words are kept, and none of them is a grade."""
    write_checkpoint(tmp_path / "tiny", {"max_position_embeddings": 4096}, seed=0)
    run, _ = answered("mmvet", tmp_path)
    results = ["--results", str(tmp_path / "results")]
    command = ["grade", run.run_id[:8], "--judge", str(tmp_path / "tiny"), *results, "--gradings", "2"]
    assert cli.run([*command, "--json"]) == 0
    out, err = capsys.readouterr()
    row = json.loads(out.splitlines()[0])
    assert (row["model"], row["judge"], row["n"], row["n_unparsed"]) == ("asked", "tiny", 2, 2)
    assert "a grading of" in err
    assert cli.run(command) == 0
    assert "judge tiny" in " ".join(capsys.readouterr().out.split())
    assert cli.run(["grade", run.run_id[:8], "--judge", "flamingo-tiny", *results]) == 3, "the words do not fit"
    assert "gradings failed" in capsys.readouterr().err
    assert cli.run(["grade", "nothing", "--judge", "flamingo-tiny", *results]) == 2


@pytest.fixture
def published(tmp_path: Path) -> Iterator[tuple[Run, Store, dict[str, Any]]]:
    """LLaVA-1.5-13B's answers to MM-Vet as a run, and what GPT-4 said of them."""
    folder = DATA / "mmvet"
    if not folder.is_dir():
        pytest.skip("no published answers here")
    questions = json.loads((folder / "mm-vet.json").read_text())
    answers = json.loads((folder / "llava-v1.5-13b.json").read_text())
    (tmp_path / "images").mkdir()
    (tmp_path / "mm-vet.json").write_text(json.dumps(questions))
    for row in questions.values():
        Pillow.new("RGB", (2, 2)).save(tmp_path / "images" / row["imagename"], "PNG")
    store = Store(tmp_path / "results")
    model = Scripted(lambda request: answers[request.id], name="llava-v1.5-13b")
    run = runner.run(model, task.get("mmvet"), Settings(data=tmp_path), store)
    yield run, store, json.loads((folder / "llava-v1.5-13b_gpt-4-grade-3runs.json").read_text())


def test_the_published_grades_of_llava_give_its_published_score(published: tuple[Run, Store, dict[str, Any]]) -> None:
    run, store, grades = published

    def reply(request: fl.Request) -> str:
        key, _, number = request.id.rpartition("/")
        return grades[key]["content"][int(number) - 1]

    made = graded(run, store, reply, gradings=3)
    scores = {(score.metric, score.slice): 100 * (score.value or 0.0) for score in made.scores}
    (oracle,) = [one for one in json.loads((DATA / "ORACLES.json").read_text()) if one["id"] == "mmvet-llava15-13b"]
    expected = oracle["expected"]
    assert scores["grades", "all"] == pytest.approx(expected["total"], abs=0.05)
    assert scores["grades.std", "all"] == pytest.approx(expected["std"], abs=0.05)
    for number, total in enumerate(expected["runs"], start=1):
        assert scores["grades", f"grading={number}"] == pytest.approx(total, abs=0.05)
    assert made.scores[0].n_unparsed == 0
