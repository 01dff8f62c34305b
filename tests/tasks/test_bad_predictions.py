"""`flab score` on whatever people may hand it: one line that says what is wrong and where, exit code 2, no score."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flamingo_lab.cli import run
from tests.tasks.benchmarks import BUILDERS, FILES, choices

assert choices  # it registers its builders

GOOD = {"id": "1", "prediction": "yes", "answer": "yes"}
MEGABYTE = "x" * 1_000_000
HEAD = "id,prediction,answer\n"


def rows(*held: object) -> str:
    return json.dumps(held)


def ranked(scores: str) -> str:
    return '[{"id": 1, "option_logprobs": ' + scores + ', "prediction": "", "answer": "B"}]'


NO_SCORES = "row 0: 'option_logprobs' is no list of numbers"

BAD: dict[str, tuple[str, str | bytes, str]] = {
    **{
        f"an empty {ending} file": (f"p.{ending}", "", "no predictions in it")
        for ending in ["json", "jsonl", "csv", "tsv", "txt"]
    },
    **{f"a blank {ending} file": (f"p.{ending}", " \n\n", "no predictions in it") for ending in ["json", "csv", "txt"]},
    "a file without an ending": ("p", "", "no predictions in it"),
    "a heading alone": ("p.csv", HEAD, "no predictions in it"),
    "no heading": ("p.csv", "1,yes,no\n2,no,no\n", "row 0: no id in it"),
    "too few cells": ("p.csv", f"{HEAD}1,yes,yes\n2,no\n", "row 1 has fewer cells than the 3 columns"),
    "too many cells": ("p.csv", f"{HEAD}1,yes,yes,no\n", "row 0 has more cells than the 3 columns"),
    "an open quote": ("p.csv", f'{HEAD}1,"yes,yes\n', "unexpected end of data"),
    "a column twice": ("p.csv", "id,prediction,prediction,answer\n1,a,b,a\n", "the column 'prediction' occurs twice"),
    "UTF-16": ("p.json", rows(GOOD).encode("utf-16"), "not UTF-8 text (invalid start byte at byte 0)"),
    "bytes that are no text": ("p.csv", HEAD.encode() + b"1,\xe9,yes\n", "not UTF-8 text"),
    "a torn line": ("p.jsonl", json.dumps(GOOD) + '\n{"id": 2,\n', "line 2: "),
    "an id twice": ("p.json", rows(GOOD, GOOD), "row 1: '1' was answered before, in "),
    "an id as number and text": ("p.json", rows(GOOD, GOOD | {"id": 1}), "row 1: '1' was answered before, in "),
    "no id": ("p.json", rows(GOOD, GOOD | {"id": None}), "row 1: no id in it"),
    "NaN as id": ("p.json", '[{"id": NaN, "prediction": "a", "answer": "a"}]', "row 0: no id in it"),
    "NaN as answer": (
        "p.json",
        '[{"id": 1, "prediction": NaN, "answer": "a"}]',
        "row 0: the prediction is nan, not text",
    ),
    "NaN as right answer": (
        "p.json",
        '[{"id": 1, "prediction": "a", "answer": NaN}]',
        "row 0: the right answer is nan",
    ),
    "no right answer": ("p.json", rows(GOOD | {"answer": []}), "row 0: the right answer is []"),
    "NaN as score": ("p.json", ranked("[NaN, -1.0]"), NO_SCORES),
    "a truth as score": ("p.json", ranked("[true, false]"), NO_SCORES),
    "an id of a megabyte": ("p.json", rows({"id": MEGABYTE, "prediction": "a"}), "is none of the 9673 questions"),
    "a key of a megabyte": ("p.json", f'{{"{MEGABYTE}": 1, "{MEGABYTE}": 2}}', "occurs twice in an object"),
    "a number of 5000 digits": ("p.json", '[{"id": ' + "9" * 5000 + "}]", "not readable as .json"),
    "brackets without end": ("p.json", "[" * 200_000, "not readable as .json"),
    "another format": ("p.parquet", b"PAR1\0\1", "not readable as .parquet"),
    "answers to no question": ("p.json", rows({"id": "q1", "prediction": "a"}), "'q1' is none of the 9673 questions"),
}


def score(file: Path, *more: str, task: str = "easy-vqa") -> int:
    return run(["score", "--task", task, "--predictions", str(file), *more])


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_scored_is_told_in_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file_name, content, said = BAD[name]
    file = tmp_path / file_name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert score(file) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {file}") and said in err
    assert len(err.splitlines()) == 1 and len(err) < 600


def test_missing_answers_are_refused_or_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    BUILDERS["hateful-memes", FILES](tmp_path)
    right = [{"id": str(number), "answer": str(number % 2)} for number in range(4)]
    given = [{"id": "1", "prediction": "0.9"}, {"id": "2", "prediction": "0.1"}]
    for name, held in {"right.json": right, "given.json": given}.items():
        (tmp_path / name).write_text(json.dumps(held))
    more = ("--annotations", str(tmp_path / "right.json"))
    assert score(tmp_path / "given.json", *more, task="hateful-memes") == 2
    assert (
        "2 of 4 questions have no prediction, '0' for one; score the others with --allow-missing"
        in capsys.readouterr().err
    )
    assert score(tmp_path / "given.json", *more, "--allow-missing", task="hateful-memes") == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert "100.00" in first and "n 2" in first and "missing 2" in first


def test_scores_of_other_options_than_the_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split = BUILDERS["seed-bench", FILES](tmp_path / "data").split
    assert split
    from eval_tasks import task

    samples = task.get("seed-bench").samples(split, tmp_path / "data")
    held = [{"id": one.id, "option_logprobs": [-1.0] * len(one.choices), "prediction": ""} for one in samples]
    file = tmp_path / "p.json"
    file.write_text(json.dumps(held))
    assert score(file, "--data", str(tmp_path / "data"), task="seed-bench") == 0
    held[0]["option_logprobs"] = [-1.0]
    file.write_text(json.dumps(held))
    capsys.readouterr()
    assert score(file, "--data", str(tmp_path / "data"), task="seed-bench") == 2
    assert f"{samples[0].id!r} has 1 scores for {len(samples[0].choices)} options" in capsys.readouterr().err


@pytest.mark.parametrize("text", [MEGABYTE, "no " * 300_000, "\0", "\\ud800", "١٢" * 500_000])
def test_answers_that_no_model_should_give_are_wrong_and_nothing_worse(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "p.json"
    file.write_text(rows(GOOD | {"prediction": "@"}).replace("@", text if "ud800" in text else json.dumps(text)[1:-1]))
    for metric in ("exact_match/strip-lower", "vqa_accuracy/gt-vision-lab", "anls/rrc", "relaxed_accuracy/pix2struct"):
        assert score(file, "--metric", metric) == 0
        assert " 0.00 " in capsys.readouterr().out
