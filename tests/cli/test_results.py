"""`flab results`: every verb on a made-up store, its mistakes in one line, its failures with exit code 2."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from flamingo_lab.cli import run
from leaderboards.records import Score
from leaderboards.store import Store
from tests.folders import ROOT
from tests.leaderboards.made import METRIC, drawn, finish

Says = Callable[..., tuple[str, str]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    made = Store(Path("results"))
    kinds = ["human", "machine"] * 100
    for model, share in (("good", 0.9), ("fair", 0.5)):
        for task in ("t", "u"):
            values = drawn(ord(model[0]) + ord(task), 200, share)
            finish(made, f"{model}{task}", {METRIC: values}, kinds=kinds, model=model, model_digest=model, task=task)
    return made


@pytest.fixture
def says(capsys: pytest.CaptureFixture[str]) -> Says:
    def check(*arguments: str, code: int = 0) -> tuple[str, str]:
        capsys.readouterr()
        assert run(["results", *arguments]) == code
        return capsys.readouterr()

    return check


@pytest.fixture
def fails(says: Says) -> Callable[..., str]:
    def check(*arguments: str) -> str:
        out, err = says(*arguments, code=2)
        assert out == "" and err.startswith("error: ") and len(err.splitlines()) == 1
        return err

    return check


@pytest.mark.parametrize("form", ["rich", "md", "csv", "json", "latex", "html"])
@pytest.mark.parametrize("which", [[], ["--matrix"], ["--published"]])
def test_every_table_has_every_form(form: str, which: list[str], store: Store, says: Says) -> None:
    score = Score("vqa_accuracy", "gt-vision-lab-uploaded", "all", 0.78, 0.77, 0.79, 0.005, n=10)
    facts = {"model": "llava-v1.5-7b", "task": "vqav2", "split": "val"}
    finish(store, "llava", {"vqa_accuracy/gt-vision-lab-uploaded": [0.78] * 10}, whole=[score], **facts)
    out, err = says("table", "--format", form, *which)
    assert "llava-v1.5-7b" in out and not err
    assert ("good" in out) == (which != ["--published"])


def test_runs_are_chosen_by_task_model_and_shots(store: Store, says: Says, fails: Callable[..., str]) -> None:
    def ids(*arguments: str) -> list[str]:
        return sorted(json.loads(line)["run_id"] for line in says("table", "--json", *arguments)[0].splitlines())

    assert ids() == ["fairt", "fairu", "goodt", "goodu"]
    assert ids("--tasks", "t", "--models", "good,fair", "--num-fewshot", "0") == ["fairt", "goodt"]
    assert "--models goof: no run has it; there are good" in fails("table", "--models", "goof")
    assert "--num-fewshot 4: no run has it; there are 0" in fails("table", "--num-fewshot", "4")


def test_a_task_is_chosen_by_its_split_too(store: Store, says: Says, fails: Callable[..., str]) -> None:
    finish(store, "other", {METRIC: [1.0]}, model="good", model_digest="good", task="t", split="val")
    for named, expected in (("t:val", ["other"]), ("t:test", ["fairt", "goodt"]), ("t", ["fairt", "goodt", "other"])):
        lines = says("table", "--json", "--tasks", named)[0].splitlines()
        assert sorted(json.loads(line)["run_id"] for line in lines) == expected
    says("export", "board.json", "--tasks", "t:val")
    assert [column["split"] for column in json.loads(Path("board.json").read_text())["columns"]] == ["val"]
    assert "--tasks t:vla: no run has it; there are t:val" in fails("table", "--tasks", "t:vla")
    assert "--tasks xyz: no run has it; there are t, u" in fails("table", "--tasks", "xyz")


def test_names_that_no_run_has_together_are_told(store: Store, fails: Callable[..., str]) -> None:
    finish(store, "alone", {METRIC: [1.0]}, model="new", model_digest="new", task="v")
    for verb in (["table"], ["export", "board.html"]):
        assert "no run has all of --tasks v --models good" in fails(*verb, "--tasks", "v", "--models", "good")
    assert not Path("board.html").exists()


def test_a_store_with_unfinished_runs_alone_says_so(store: Store, says: Says, fails: Callable[..., str]) -> None:
    begun = Store(Path("begun"))
    with begun.begin("aaaa") as folder:
        folder.state(replace(store.run("goodt"), run_id="aaaa", status="running", scores=()))
    for which in ([], ["--matrix"]):
        out, err = says("table", "--results", "begun", *which)
        assert out == "" and err == (
            "no finished runs in begun, 1 unfinished: the same flab eval command goes on with one\n"
        )
    assert "1 unfinished" in fails("export", "board.html", "--results", "begun")


def test_a_folder_of_something_else_is_no_results_folder(store: Store, says: Says, fails: Callable[..., str]) -> None:
    Path("other").mkdir()
    assert "no finished runs in other" in says("table", "--results", "other")[1], "an empty one may become one"
    Path("other/letter.txt").write_text("")
    for verb in (["table"], ["compare", "a", "b"], ["export", "board.html"]):
        assert "other: no results folder: there are other files in it" in fails(*verb, "--results", "other")
    assert "no results folder" in fails("merge", "other", "--results", "all")
    assert "no results folder" in fails("table", "--results", "results/runs")


def test_a_slice_has_its_own_table(store: Store, says: Says, fails: Callable[..., str]) -> None:
    out, _ = says("table", "--slice", "kind=human", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert {(row["slice"], row["n"]) for row in rows} == {("kind=human", 100)} and len(rows) == 4
    matrix = json.loads(says("table", "--matrix", "--slice", "kind=human", "--json")[0])
    assert {column["slice"] for column in matrix["columns"]} == {"kind=human"}
    assert "no run has it" in fails("table", "--slice", "kind=nobody")
    assert "no run has it" in fails("table", "--matrix", "--slice", "kind=nobody")
    for which in ("--published", "--every-slice"):
        assert f"{which} shows slices of its own" in fails("table", which, "--slice", "kind=human")


def test_the_matrix_has_ranks(store: Store, says: Says) -> None:
    held = json.loads(says("table", "--matrix", "--json")[0])
    assert [(row["model"], row["average"]["ranks"]) for row in held["rows"]] == [("good", [1, 1]), ("fair", [2, 2])]
    assert "choose one" in says("table", "--matrix", "--published", code=2)[1]


def test_two_runs_are_compared(store: Store, says: Says, fails: Callable[..., str]) -> None:
    out, _ = says("compare", "fairt", "goodt", "--slice", "all", "--questions", "3")
    assert "McNemar, exact" in out and "< 0.0001" in out and "goodt says" in out
    (held,) = [json.loads(line) for line in says("compare", "fairt", "goodt", "--json")[0].splitlines()]
    assert [one["slice"] for one in held["differences"]] == ["all", "kind=human", "kind=machine"]
    assert len(held["differing"]) == 10 and held["a"]["run_id"] == "fairt"
    assert "only runs on the same questions" in fails("compare", "fairt", "goodu")
    assert "no run 'x'" in fails("compare", "fairt", "x")
    assert "no metric 'cider'" in fails("compare", "fairt", "goodt", "--metric", "cider")


def test_runs_of_one_name_are_told_apart_in_every_table(store: Store, says: Says) -> None:
    values = {METRIC: drawn(1, 200, 0.5)}
    finish(store, "shufflet", values, model="good", model_digest="good", task="t", settings={"options": ["shuffle"]})
    finish(store, "othert", values, model="good", model_digest="abcdef01", task="t")
    out, _ = says("compare", "goodt", "shufflet", "othert", "--questions", "0")
    assert "shuffle, float32" in out
    assert "options: none against shuffle" in out and "good (abcdef)" in out and "good (good)" in out
    matrix, _ = says("table", "--matrix", "--tasks", "t", "--format", "md")
    assert "good (abcdef)" in matrix and "0 shots, shuffle" in matrix
    listed, _ = says("table", "--tasks", "t", "--format", "md")
    assert "0 shots, shuffle" in listed and "good (abcdef)" in listed


def test_the_leaderboard_is_exported(store: Store, says: Says, fails: Callable[..., str]) -> None:
    says("export", "board.html")
    says("export", "board.json", "--tasks", "t")
    assert Path("board.html").read_text().startswith("<!doctype html>")
    assert [column["task"] for column in json.loads(Path("board.json").read_text())["columns"]] == ["t"]
    assert "ends in .html or .json" in fails("export", "board.pdf")
    assert "no finished runs" in fails("export", "board.html", "--results", "nowhere")
    assert "not a file in a folder that exists" in fails("export", "nowhere/board.html")


def test_a_page_is_exported_without_the_runs_whose_samples_are_gone(store: Store, says: Says) -> None:
    for run_id, model in (("goodv", "good"), ("fairv", "fair"), ("lostv", "lost")):
        finish(store, run_id, {METRIC: drawn(ord(model[0]), 200, 0.5)}, model=model, model_digest=model, task="v")
    Path("results/runs/lostv/samples.parquet").unlink()
    _, err = says("export", "board.html", "--tasks", "v")
    assert "the samples of run lostv are gone" in err and "3 runs" in err
    page = Path("board.html").read_text()
    assert "lost" in page.partition("Against the first")[0] and "goodv" in page.partition("Against the first")[2]


def test_folders_are_merged(store: Store, says: Says, fails: Callable[..., str]) -> None:
    out, err = says("merge", "results", "--results", "all")
    assert sorted(out.split()) == ["fairt", "fairu", "goodt", "goodu"] and "4 runs brought to all" in err
    finish(store, "goodt", {METRIC: [0.0]})
    assert "with other content; nothing was brought" in fails("merge", "results", "--results", "all")
    assert "no such folder" in fails("merge", "nowhere", "--results", "all")


def test_runs_are_deleted_only_when_somebody_says_so(
    store: Store, says: Says, fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, err = says("delete", "goodt", code=2)
    assert "say --yes" in err and len(store.runs()) == 4
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    assert "nothing was deleted" in says("delete", "goodt")[1] and len(store.runs()) == 4
    _, err = says("delete", "goodt", "fairt", "--yes")
    assert "deleted 2 runs" in err and sorted(one.run_id for one in store.runs()) == ["fairu", "goodu"]
    assert "no run 'goodt'" in fails("delete", "goodt", "--yes")


def test_a_damaged_run_is_named_and_the_rest_is_shown(store: Store, says: Says, fails: Callable[..., str]) -> None:
    Path("results/runs/goodt/run.json").write_text("{")
    Path("results/runs/goodu/samples.parquet").write_bytes(b"PAR1")
    out, err = says("table", "--matrix")
    assert "fair" in out
    assert "goodt/run.json: not a run's record" in err and "goodu/samples.parquet: cut or damaged" in err


def test_rescore_needs_runs(store: Store, fails: Callable[..., str]) -> None:
    assert "name runs (flab list runs), or --all" in fails("rescore")
    assert "unknown task 't'" in fails("rescore", "goodt")


def test_rescoring_all_goes_on_behind_a_run_that_cannot_be_read(
    says: Says, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    demo = ROOT / "dashboard" / "demo" / "runs"
    whole, cut, *_ = sorted(folder.name for folder in demo.iterdir())
    for run_id in (whole, cut):
        shutil.copytree(demo / run_id, Path("results/runs") / run_id)
    Path("results/runs", cut, "samples.parquet").write_bytes(b"PAR1")
    out, err = says("rescore", "--all", code=2)
    assert out.startswith(whole[:8]) and len(out.splitlines()) == 1
    assert err.startswith("left out: ") and f"{cut}/samples.parquet: cut or damaged" in err


def test_a_table_without_lines_is_not_drawn(says: Says, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out, err = says("table")
    assert out == "" and err == "no finished runs in results; begin with flab eval --help\n"


def test_every_verb_says_an_example(says: Says) -> None:
    for verb in ("table", "compare", "rescore", "export", "merge", "delete"):
        assert f"flab results {verb}" in says(verb, "--help")[0]
