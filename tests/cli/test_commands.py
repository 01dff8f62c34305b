"""The command line on a tiny random checkpoint and real files: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from flamingo_lab.cli import run
from flamingo_lab.cli.bar import bar
from leaderboards.store import Store
from tests.families.tiny_idefics import write_checkpoint
from tests.leaderboards.made import METRIC, finish
from tests.leaderboards.test_store import RUN
from tests.leaderboards.test_table import PROMISED
from tests.tasks import charts


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny-idefics"
    write_checkpoint(folder, {"max_position_embeddings": 2048}, seed=0)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return charts.write(tmp_path / "data")


@pytest.fixture(autouse=True)
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def evaluate(model: Path | str, data: Path, *more: str) -> int:
    return run(["eval", "--model", str(model), "--tasks", "chartqa", "--data", str(data), *more])


def test_eval_prints_scores_as_json_on_stdout_and_nothing_else(
    checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(checkpoint, data, "--num-fewshot", "2", "--json") == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert all(row.keys() >= PROMISED for row in rows)
    assert {(row["metric"], row["variant"], row["slice"]) for row in rows} >= {
        ("relaxed_accuracy", "pix2struct", part) for part in ("all", "kind=human", "kind=augmented")
    }
    assert {row["num_fewshot"] for row in rows} == {2}
    assert "7 questions, 2 shots" in err
    assert f"flab show run {rows[0]['run_id'][:8]}" in err


def test_results_table_gives_what_eval_gave(checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(checkpoint, data, "--json", "--limit", "5")
    printed = capsys.readouterr().out
    assert run(["results", "table", "--every-slice", "--json"]) == 0
    assert capsys.readouterr().out == printed
    for form in ("rich", "md", "csv"):
        assert run(["results", "table", "--format", form]) == 0
        assert "tiny-idefics" in capsys.readouterr().out


def test_a_finished_run_is_found_and_a_part_of_a_mean_is_no_mean(
    checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for said in ("saved run", "found run"):
        assert evaluate(checkpoint, data, "--limit", "4") == 0
        err = capsys.readouterr().err
        assert said in err and ("nothing was asked" in err) == (said == "found run")
        assert "chartqa: kind=augmented has no answers here; the score is that of kind=human alone" in err
    assert evaluate(checkpoint, data, "--limit", "5") == 0
    assert "alone" not in capsys.readouterr().err


def test_show_run_and_list_runs(checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(checkpoint, data, "--json")
    run_id = json.loads(capsys.readouterr().out.splitlines()[0])["run_id"]
    assert run(["show", "run", run_id[:8]]) == 0
    out = capsys.readouterr().out
    assert "relaxed_accuracy" in out and "right is" in out
    assert run(["list", "runs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run"] == run_id


def test_show_run_begins_with_scores_and_says_times_and_memory_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    facts: dict[str, Any] = {"seconds": 1.8873114129, "peak_memory": 512 << 20, "mean_of": ("kind=a", "kind=b")}
    finish(Store(Path("results")), "done", {METRIC: [1, 0]}, kinds=["a", "a"], **facts)
    assert run(["show", "run", "done"]) == 0
    out = capsys.readouterr().out
    assert out.index("exact_match") < out.index("right is") < out.index("model_digest")
    assert "kind=b has no answers here" in out and "('kind" not in out
    assert "1.887\n" in out and "512 MiB" in out


def test_a_bar_ends_with_the_rate_of_the_whole_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with bar("t") as shown:
        time.sleep(0.5)  # planning
        for done in (40, 70, 100):  # 40 are of an earlier process
            shown.report(done, 100, 0)
    *_, last = re.findall(r"([\d,]+) q/s", capsys.readouterr().err)
    assert 0 < int(last.replace(",", "")) <= 120


@pytest.mark.parametrize(("is_asked", "shown_last"), [(False, "900/2000 questions planned"), (True, "1/2000 ")])
def test_the_bar_counts_questions_while_they_are_planned(
    is_asked: bool, shown_last: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with bar("t") as shown:
        shown.looked("questions planned", 900, 2000)
        if is_asked:
            shown.report(1, 2000, 0)
    last = re.sub(r"\x1b\[\??[0-9;]*[A-Za-z]", "", capsys.readouterr().err).split("t ")[-1]
    assert shown_last in last and ("q/s" in last) == is_asked


def test_runs_in_a_list_say_how_they_were_asked(capsys: pytest.CaptureFixture[str]) -> None:
    finish(Store(Path("results")), "plain", {METRIC: [1]})
    finish(Store(Path("results")), "other", {METRIC: [1]}, settings={"options": ["shuffle"]}, limit=1, model_digest="e")
    assert run(["list", "runs"]) == 0
    out = capsys.readouterr().out
    assert "0 shots, shuffle, first 1 questions" in out and "m (d)" in out and "m (e)" in out


def test_a_run_that_no_process_holds_is_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(Path("results"))

    def says(*arguments: str) -> str:
        assert run([*arguments]) == 0
        return capsys.readouterr().out

    with store.begin("half") as folder:
        folder.state(replace(RUN, run_id="half", status="running", n=9000, scores=(), finished=None))
        for number in range(2):
            folder.journal.append({"id": str(number)})
        assert "running, 2 of 9,000 questions answered" in says("list", "runs")
    assert "stopped, 2 of 9,000 questions answered" in says("list", "runs")
    assert "not finished (stopped, 2 of 9,000 questions answered)" in says("show", "run", "half")
    assert json.loads(says("list", "runs", "--json"))["status"] == "stopped"


def test_a_changed_weight_makes_another_run(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    import shutil

    other = tmp_path / "tiny-idefics"
    shutil.copytree(checkpoint, other)
    file = other / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"] = torch.nextafter(tensors["model.norm.weight"], torch.tensor(2.0))
    save_file(tensors, file, metadata={"format": "pt"})
    for model in (checkpoint, checkpoint, other):
        assert evaluate(model, data, "--results", str(tmp_path / "r"), "--json") == 0
    assert len(Store(tmp_path / "r").runs()) == 2


def test_another_dtype_makes_another_run(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        assert evaluate(checkpoint, data, "--dtype", dtype, "--json", "--results", str(tmp_path / "r")) == 0
    assert {run.dtype for run in Store(tmp_path / "r").runs()} == {"float32", "bfloat16"}


@pytest.mark.parametrize(
    "decoding",
    [["--beams", "3", "--length-penalty", "0"], ["--temperature", "0.7", "--top-p", "0.9"], ["--max-new-tokens", "3"]],
)
def test_decodings(decoding: list[str], checkpoint: Path, data: Path, tmp_path: Path) -> None:
    assert evaluate(checkpoint, data, *decoding, "--json", "--results", str(tmp_path / "r")) == 0


def test_more_errors_than_allowed_end_with_3(checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "ChartQA Dataset" / "test" / "png" / "human-2.png").write_bytes(b"")
    assert evaluate(checkpoint, data, "--json") == 3
    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[0])["n_errors"] == 1
    assert "1 of 7 questions have no answer" in err
    assert evaluate(checkpoint, data, "--json", "--max-error-rate", "0.2") == 0


def test_ask_reads_text_and_pictures_in_the_order_typed(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for colour in ("red", "blue"):
        Image.new("RGB", (20, 20), colour).save(tmp_path / f"{colour}.png")

    def asked(*parts: str) -> dict[str, Any]:
        assert run(["ask", "--model", str(checkpoint), "--json", "--max-new-tokens", "8", *parts]) == 0
        return json.loads(capsys.readouterr().out)

    first = asked("one", "--image", "red.png", "two", "--image", "blue.png", "three?")
    again = asked("one", "--image=red.png", "two", "--image", "blue.png", "three?")
    other = asked("one", "--image", "blue.png", "two", "--image", "red.png", "three?")
    assert first["images"] == 2
    assert (first["token_ids"], first["logprob"]) == (again["token_ids"], again["logprob"])
    assert first["logprob"] != other["logprob"]


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "models", "--json"]) == 0
    models = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"idefics-9b", "idefics-80b", "flamingo-tiny"} <= {model["name"] for model in models}
    assert run(["list", "tasks"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in ("easy-vqa", "chartqa", "shapes-binding"))
    assert run(["show", "model", "idefics-80b"]) == 0
    assert "79,967,843,624" in capsys.readouterr().out
    assert run(["show", "task", "shapes-binding"]) == 0
    assert "shuffle-pictures" in capsys.readouterr().out


def test_score_of_predictions_made_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"imgname": "a.png", "prediction": "105", "answer": "100", "split": "human"},
        {"imgname": "b.png", "prediction": "no", "answer": "yes", "split": "augmented"},
    ]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    assert run(["score", "--task", "chartqa", "--predictions", "p.json", "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["slice"]: row["value"] for row in found} == {"all": 0.5, "split=human": 1.0, "split=augmented": 0.0}
    assert run(["score", "--task", "chartqa", "--predictions", "p.json"]) == 0
    assert "50.00 [" in capsys.readouterr().out


VERBS = [
    "",
    "eval",
    "ask",
    "check",
    "score",
    "train",
    "list models",
    "list tasks",
    "list layouts",
    "list runs",
    "show model",
    "show task",
]


@pytest.mark.parametrize("verb", [*VERBS, "show run", "results table"])
def test_help_ends_with_a_command_to_paste(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*verb.split(), "--help"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert "flab " in lines[-1]


def rows_of(out: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The runs' scores and the spreads of `flab eval --json`."""
    rows = [json.loads(line) for line in out.splitlines()]
    return [row for row in rows if "over" not in row], [row for row in rows if "over" in row]


def test_several_seeds_are_as_many_runs_and_their_mean(
    checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(checkpoint, data, "--num-fewshot", "1", "--seeds", "0,1,2", "--json") == 0
    rows, spread = rows_of(capsys.readouterr().out)
    assert {row["seed"] for row in rows} == {0, 1, 2} and len({row["run_id"] for row in rows}) == 3
    first = next(one for one in spread if (one["metric"], one["slice"]) == ("relaxed_accuracy", "all"))
    values = [row["value"] for row in rows if (row["metric"], row["variant"], row["slice"]) == _of(first)]
    assert (first["over"], first["members"], first["values"]) == ("seed", ["0", "1", "2"], values)
    assert first["mean"] == pytest.approx(sum(values) / 3)
    assert evaluate(checkpoint, data, "--num-fewshot", "1", "--seeds", "0,1,2") == 0
    assert "3 seeds" in capsys.readouterr().out
    assert len(Store(Path("results")).runs()) == 3


def _of(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["metric"], row["variant"], row["slice"]


def test_seeds_that_change_nothing_are_one_run(
    checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(checkpoint, data, "--seeds", "0,1", "--limit", "2", "--json") == 0
    out, err = capsys.readouterr()
    rows, spread = rows_of(out)
    assert len({row["run_id"] for row in rows}) == 1 and not spread
    assert "nothing is drawn" in err
    assert evaluate(checkpoint, data, "--seeds", "0,one") == 2
    assert "whole numbers with commas between" in capsys.readouterr().err


def test_all_wordings_are_those_that_the_model_reads(
    checkpoint: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(checkpoint, data, "--phrasing", "all", "--limit", "3", "--json") == 0
    rows, spread = rows_of(capsys.readouterr().out)
    assert {row["phrasing"] for row in rows} == {"short-answer", "single-word", "very-brief"}  # it reads turns
    first = next(one for one in spread if one["metric"] == "relaxed_accuracy")
    assert (first["over"], first["members"]) == ("phrasing", ["short-answer", "single-word", "very-brief"])
    assert first["least"] <= first["mean"] <= first["most"]


def test_a_flag_is_for_those_tasks_that_have_it(capsys: pytest.CaptureFixture[str]) -> None:
    several = ["eval", "--model", "flamingo-tiny", "--tasks", "easy-vqa,shapes-binding", "--limit", "1", "--json"]
    assert run([*several, "--task-option", "shuffle-pictures"]) == 0
    capsys.readouterr()
    kept = {one.task: one.settings["options"] for one in Store(Path("results")).runs()}
    assert kept == {"easy-vqa": [], "shapes-binding": ["shuffle-pictures"]}
    assert run([*several, "--task-option", "shufle-pictures"]) == 2
    assert capsys.readouterr().err == (
        "error: none of the tasks has an option 'shufle-pictures'; did you mean shuffle-pictures?\n"
    )
