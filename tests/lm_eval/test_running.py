"""`flab lm-eval`: lm-eval's figures, sample by sample in our store; nothing asked twice, nothing lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.tasks import TaskManager

import flamingo_lab as fl
from eval_tasks.errors import BadRow, MissingData, TaskError, UnknownTask
from eval_tasks.lm_eval import harness, running
from eval_tasks.lm_eval.model import LabLM
from eval_tasks.lm_eval.running import Settings
from flamingo_lab import cli
from flamingo_lab.errors import BadPrompt
from flamingo_lab.model import Sent
from leaderboards.records import Run
from leaderboards.store import Store
from tests.doubles import Scripted
from tests.lm_eval import files

SETTINGS = {
    "as the files say": Settings(),
    "with examples": Settings(num_fewshot=2),
    "few": Settings(num_fewshot=1, limit=2),
    "generation": Settings(generation={"max_gen_toks": 3}),
}


def loaded(folder: Path, *names: str) -> Any:
    return harness.load([str(files.write(folder, name)) for name in names])


def samples(results: Path, run_id: str) -> list[dict[str, Any]]:
    found = Store(results).samples(run_id)
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


# lm-eval gives a model no pictures of worked examples.
ASKED = [
    (name, how)
    for name in (*files.TASKS, *files.PICTURES)
    for how in SETTINGS
    if not (name in files.PICTURES and SETTINGS[how].num_fewshot)
]


@pytest.mark.parametrize(("name", "how"), ASKED)
def test_the_figures_are_those_of_lm_evals_own_evaluation(
    name: str, how: str, tiny: fl.LoadedModel, tmp_path: Path
) -> None:
    settings = SETTINGS[how]
    task = loaded(tmp_path, name).tasks[f"toy-{name}"]
    run = running.run(tiny, task, settings, Store(tmp_path / "results"))
    again = loaded(tmp_path, name).tasks[f"toy-{name}"]
    said: Any = lm_eval.simple_evaluate(
        model=LabLM(tiny, seed=settings.seed),
        tasks=[again],
        num_fewshot=settings.num_fewshot,
        limit=settings.limit,
        gen_kwargs=dict(settings.generation),  # pyright: ignore[reportArgumentType]
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),
    )
    figures = {key: value for key, value in said["results"][f"toy-{name}"].items() if isinstance(value, float)}
    found = {f"{score.metric},{score.variant}": score.value for score in run.scores if score.slice == "all"}
    assert found == figures
    assert (run.task, run.n, run.n_errors, run.status) == (f"lm-eval:toy-{name}", settings.limit or 4, 0, "complete")
    logged = {(one["filter"], str(one["doc_id"])): one for one in said["samples"][f"toy-{name}"]}
    for record in samples(tmp_path / "results", run.run_id):
        for metric, score in record["scores"].items():
            metric_name, _, filter_name = metric.partition("/")
            value = logged[filter_name, record["sample_id"]][metric_name]
            if not isinstance(value, tuple) and metric_name != "perplexity":
                assert score == value


def test_records_say_what_was_asked_and_answered(tiny: fl.LoadedModel, tmp_path: Path) -> None:
    found = loaded(tmp_path, "choice", "pictured", "next")
    runs = {name: running.run(tiny, task, Settings(), Store(tmp_path / "r")) for name, task in found.tasks.items()}
    first = samples(tmp_path / "r", runs["toy-choice"].run_id)[0]
    assert first["question"] == "what colour is the car?"
    assert first["choices"] == [" red", " blue", " green"] and first["targets"] == ["0"]
    assert first["answer"] == first["choices"][first["option_logprobs"].index(max(first["option_logprobs"]))]
    assert first["prompt"].endswith("what colour is the car?")
    shown = samples(tmp_path / "r", runs["toy-pictured"].run_id)[0]
    assert shown["n_images"] == 2 == len(set(shown["image_digests"]))
    assert "<image" in shown["prompt"] and shown["generated_tokens"] == 4
    assert runs["toy-pictured"].counters["images_referenced"] == 8
    assert len(samples(tmp_path / "r", runs["toy-next"].run_id)[0]["option_logprobs"]) == 1


class Breaking(Scripted):
    """Stops after so many answers, as if it had been killed."""

    left = 2

    def answers(self, requests: Any) -> Iterator[fl.Answer]:
        for number, answer in enumerate(super().answers(requests)):
            if number == self.left:
                raise KeyboardInterrupt
            yield answer


def test_an_interrupted_run_is_gone_on_with(tmp_path: Path) -> None:
    task = loaded(tmp_path, "written").tasks["toy-written"]
    broken, store = Breaking(), Store(tmp_path / "results")
    with pytest.raises(KeyboardInterrupt):
        running.run(broken, task, Settings(), store)
    whole = Scripted()
    run = running.run(whole, task, Settings(), store)
    assert len(whole.asked) == len(files.ROWS) - Breaking.left
    assert run.status == "complete" and run.n == len(files.ROWS)
    assert running.run(whole, task, Settings(), store) == run
    assert len(whole.asked) == len(files.ROWS) - Breaking.left
    other = running.run(whole, task, Settings(generation={"max_gen_toks": 2}), store)
    assert other.run_id != run.run_id


def test_a_document_without_an_answer_is_no_wrong_answer(tmp_path: Path) -> None:
    def reply(request: fl.Request) -> str:
        if "dog" in str(request.prompt.turns[-1].parts[-1]):
            raise BadPrompt("too long")
        return "Blue"

    task = loaded(tmp_path, "written").tasks["toy-written"]
    run = running.run(Scripted(reply), task, Settings(max_error_rate=0.5), Store(tmp_path / "results"))
    (score,) = [one for one in run.scores if one.variant == "whole"]
    # Of four documents the second, whose answer would have been right, has none.
    assert (score.n, score.n_errors, score.value) == (3, 1, 0.0)
    failed = samples(tmp_path / "results", run.run_id)[1]
    assert (failed["error_kind"], failed["error"], failed["answer"], failed["scores"]) == (
        "BadPrompt",
        "too long",
        None,
        {},
    )
    strict = running.run(Scripted(reply), task, Settings(), Store(tmp_path / "results"))
    assert strict.status == "too many errors"


def test_a_model_that_takes_no_text_as_it_stands_is_asked_nothing(tmp_path: Path) -> None:
    class InTurns(Scripted):
        def sent(self, request: fl.Request) -> Sent:
            if request.prompt.is_raw:
                raise BadPrompt("ask in turns")
            return super().sent(request)

    task = loaded(tmp_path, "written").tasks["toy-written"]
    model, store = InTurns(), Store(tmp_path / "results")
    with pytest.raises(BadPrompt, match=r"ask in turns \(--apply-chat-template asks lm-eval's tasks in turns\)"):
        running.run(model, task, Settings(), store)
    assert not model.asked
    run = running.run(model, task, Settings(chat=True, num_fewshot=1, system="be brief"), store)
    assert (run.status, run.num_fewshot, run.phrasing) == ("complete", 1, "lm-eval-chat")
    first = samples(tmp_path / "results", run.run_id)[0]["prompt"]
    assert first.splitlines()[0] == "be brief" and first.splitlines()[-1] == "what colour is the car?"


def flab(model: Path, *more: str) -> int:
    return cli.run(["lm-eval", "--model", str(model), "--device", "cpu", "--dtype", "float32", *more])


def test_the_command(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("choice", "written"):
        files.write(tmp_path / "tasks", name)
    group = {"group": "toys", "task": ["toy-choice", "toy-written"]}
    group["aggregate_metric_list"] = [{"metric": "acc"}]  # pyright: ignore[reportArgumentType]
    (tmp_path / "tasks" / "toys.yaml").write_text(json.dumps(group))
    tasks = ",".join(str(tmp_path / "tasks" / f"{name}.yaml") for name in ("choice", "written"))
    assert flab(checkpoint, "--tasks", tasks, "--num-fewshot", "1", "--gen-kwargs", "max_gen_toks=2", "--json") == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert {(row["task"], row["metric"], row["variant"]) for row in rows} == {
        *(("lm-eval:toy-choice", metric, "none") for metric in ("acc", "acc_norm", "exact_match")),
        *(("lm-eval:toy-written", "exact_match", name) for name in ("whole", "last-word")),
    }
    assert "toy-choice: 4 documents, asked as lm-eval asks" in err
    assert flab(checkpoint, "--tasks", tasks, "--num-fewshot", "1", "--gen-kwargs", "max_gen_toks=2") == 0
    assert "lm-eval:toy-written" in capsys.readouterr().out
    assert cli.run(["show", "run", rows[0]["run_id"]]) == 0
    assert "lm-eval:toy-choice" in capsys.readouterr().out


def test_figures_of_groups_are_lm_evals(tmp_path: Path) -> None:
    for name in ("choice", "mutual"):
        files.write(tmp_path, name)
    rule = {"metric": "acc", "weight_by_size": True}
    held = {"group": "toys", "task": ["toy-choice", "toy-mutual"], "aggregate_metric_list": [rule]}
    (tmp_path / "toys.yaml").write_text(json.dumps(held))
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    groups: Any = manager.load("toys")["groups"]
    model = fl.load("flamingo-tiny", device="cpu", dtype="float32")
    store = Store(tmp_path / "results")
    runs: list[Run] = [running.run(model, one, Settings(), store) for one in groups["toys"].get_all_tasks()]
    (found,) = running.grouped(groups, runs)
    values = [next(score.value or 0.0 for score in run.scores if score.metric == "acc") for run in runs]
    assert (found.group, found.metric, found.n) == ("toys", "acc", 8)
    assert found.value == pytest.approx(sum(values) / 2)


WRONG: dict[str, tuple[str, type[TaskError], str]] = {
    "no such data": (files.CHOICE.replace("toy", "t"), MissingData, "nothing is fetched without --download"),
    "no such field": (files.CHOICE.replace("{{gold}}", "{{ gold / 0 }}"), BadRow, "lm-eval cannot load"),
    "no such metric": (files.CHOICE.replace("acc_norm", "accuracies"), BadRow, "lm-eval cannot load"),
    "programs": (files.WRITTEN + "unsafe_code: true\n", UnknownTask, "runs programs that the model has written"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_cannot_be_used(name: str, tmp_path: Path) -> None:
    text, kind, message = WRONG[name]
    file = files.write(tmp_path, "choice", text)
    if kind is MissingData:
        (tmp_path / "choice-validation.jsonl").unlink()
    with pytest.raises(kind, match=message) as caught:
        harness.load([str(file)])
    assert len(str(caught.value).splitlines()) == 1


def test_what_lm_eval_does_not_have(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write(tmp_path, "choice")

    def no_defaults(folders: Any, with_defaults: bool) -> TaskManager:
        return TaskManager(include_path=str(tmp_path), include_defaults=False)

    monkeypatch.setattr(harness, "_manager", no_defaults)
    for arguments, said in {
        ("--tasks", "toy-choise"): "lm-eval has no task 'toy-choise'",
        ("--tasks", "choice.yaml", "--include-path", "gone"): "gone: no such folder of lm-eval's YAML files",
        ("--tasks", "choice.yaml", "--gen-kwargs", "max_gen_toks"): "NAME=VALUE is expected",
    }.items():
        assert flab(checkpoint, *arguments) == 2
        error = capsys.readouterr().err
        assert said in error and error.startswith("error: ") and len(error.splitlines()) == 1
