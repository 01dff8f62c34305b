"""`flab eval --tasks lm-eval:NAME`: lm-eval's documents as our samples, its filters and metrics as ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import flamingo_lab as fl
from eval_tasks import groups, runner
from eval_tasks.errors import BadRow, UnknownTask
from eval_tasks.lm_eval import harness
from eval_tasks.lm_eval.task import Bridged, bridged
from eval_tasks.plan import Settings, plan
from flamingo_lab import cli
from leaderboards.records import Run
from leaderboards.store import Store
from tests.doubles import Scripted
from tests.lm_eval import files


def task(folder: Path, name: str, text: str | None = None, rows: Any = files.ROWS) -> Bridged:
    found = harness.load([str(files.write(folder, name, text, rows))])
    return bridged(next(iter(found.tasks.values())))


def scores(run: Run) -> dict[str, float | None]:
    return {f"{score.metric}/{score.variant}": score.value for score in run.scores}


def colour(request: fl.Request) -> str:
    """The right answer to the first two documents, with a full stop for the second."""
    thing = str(request.prompt.turns[-1].parts[-1])
    return " Red " if "car" in thing else "it is blue." if "dog" in thing else "nothing"


def test_documents_are_samples(tmp_path: Path) -> None:
    made = task(tmp_path, "choice")
    first, second, *_ = made.samples("validation", None)
    assert (first.id, first.question, first.choices, first.targets) == (
        "0",
        "what colour is the car?",
        files.COLOURS,
        ("A",),
    )
    assert second.targets == ("B",) and first.document != second.document
    assert [sample.question for sample in made.samples("shots", None)] == [
        "what colour is the cup?",
        "what colour is the hat?",
    ]


def test_pictures_stand_where_lm_eval_marks_them(tmp_path: Path) -> None:
    made = task(tmp_path, "pictured")
    asked = plan(Scripted(), made, Settings()).asked[0]
    parts = asked.request.prompt.turns[-1].parts
    assert [part if isinstance(part, str) else part.size for part in parts] == [
        (20, 12),
        " and ",
        (21, 12),
        " which is car?",
    ]
    chosen = plan(Scripted(), task(tmp_path, "chosen"), Settings()).asked[0]
    assert isinstance(chosen.request.prompt.turns[-1].parts[0], fl.Image)
    assert isinstance(chosen.request.decoding, fl.Rank) and chosen.request.decoding.options == files.COLOURS


def test_shots_bring_their_pictures(tmp_path: Path) -> None:
    asked = plan(Scripted(), task(tmp_path, "pictured"), Settings(num_fewshot=2)).asked[0]
    assert len(asked.request.prompt.images) == 6 and asked.request.prompt.shots == 2


def test_written_answers_go_through_the_tasks_filters(tmp_path: Path) -> None:
    run = runner.run(Scripted(colour), task(tmp_path, "written"), Settings(), Store(tmp_path / "results"))
    assert (run.status, run.n, run.task, run.split) == ("complete", 4, "lm-eval:toy-written", "validation")
    # `Red` is stripped and its case ignored; the last word of the second answer is found by the second filter alone.
    assert scores(run) == {"exact_match/whole": 0.25, "exact_match/last-word": 0.5}
    found = Store(tmp_path / "results").samples(run.run_id).fetchall()
    assert len(found) == 4


def test_stop_strings_and_lengths_are_the_tasks(tmp_path: Path) -> None:
    request = plan(Scripted(), task(tmp_path, "written"), Settings()).asked[0].request
    assert (request.stop, request.max_new_tokens, request.decoding) == (("the", "\n\n"), 7, fl.Greedy())


@pytest.mark.parametrize("name", ["choice", "next", "chosen"])
def test_ranked_tasks_on_a_model(name: str, tiny: fl.LoadedModel, tmp_path: Path) -> None:
    """Against lm-eval's own rule, worked out here from the stored log-probabilities."""
    made = task(tmp_path, name)
    run = runner.run(tiny, made, Settings(), Store(tmp_path / "results"))
    records = Store(tmp_path / "results").samples(run.run_id)
    rows = [dict(zip(records.columns, row, strict=True)) for row in records.fetchall()]
    assert run.n_errors == 0
    if name == "next":
        assert scores(run)["acc/none"] == 0.0
        assert all(len(row["option_logprobs"]) == 1 for row in rows)
        return
    best = [row["option_logprobs"].index(max(row["option_logprobs"])) for row in rows]
    assert scores(run)["acc/none"] == sum(b == one["gold"] for b, one in zip(best, files.ROWS, strict=True)) / 4


BEYOND = {
    "whole": "scores whole texts",
    "blank": "puts its options into the question",
    "mutual": "scores options without their question too",
    "drawn": "asks each question more than once",
}


@pytest.mark.parametrize("name", BEYOND)
def test_what_is_no_single_request_is_left_to_the_other_way(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownTask, match=f"{BEYOND[name]}, which is asked by: flab lm-eval --tasks toy-{name}"):
        task(tmp_path, name)


def test_marks_and_pictures_that_are_not_the_same_number(tmp_path: Path) -> None:
    with pytest.raises(BadRow, match="document 0 of validation: 1 marks <image> for 2 pictures"):
        task(tmp_path, "pictured", files.PICTURED.replace("<image> and <image>", "<image>")).samples("validation", None)


def test_a_target_that_is_none_of_the_options(tmp_path: Path) -> None:
    with pytest.raises(BadRow, match="document 1 of validation: the target 7 is none of the 3 options"):
        task(tmp_path, "choice", rows=[files.ROWS[0], files.ROWS[1] | {"gold": 7}]).samples("validation", None)


def test_another_file_is_another_run(tmp_path: Path) -> None:
    ids = {
        plan(Scripted(), task(tmp_path / str(n), "written", text), Settings()).run_id
        for n, text in enumerate((files.WRITTEN, files.WRITTEN.replace(r"(\\w+)", r"(\\w\\w)")))
    }
    assert len(ids) == 2


def test_the_command(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ",".join(f"lm-eval:{files.write(tmp_path, name)}" for name in ("choice", "written"))
    command = [
        "eval",
        "--model",
        str(checkpoint),
        "--tasks",
        names,
        "--num-fewshot",
        "1",
        "--dtype",
        "float32",
        "--json",
    ]
    assert cli.run(command) == 0
    out, err = capsys.readouterr()
    assert {json.loads(line)["task"] for line in out.splitlines()} == {"lm-eval:toy-choice", "lm-eval:toy-written"}
    assert "4 questions" in err


def test_names_may_stand_beside_ours(tmp_path: Path) -> None:
    found = groups.expand(f"easy-vqa,lm-eval:{files.write(tmp_path, 'choice')}")
    assert [one.task.name for one in found] == ["easy-vqa", "lm-eval:toy-choice"]
