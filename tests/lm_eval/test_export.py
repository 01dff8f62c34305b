"""Our ChartQA asked by lm-eval gets the score that `flab eval` gives, sample by sample."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.tasks import TaskManager

import flamingo_lab as fl
from eval_tasks import runner, task
from eval_tasks.errors import UnknownTask
from eval_tasks.lm_eval.export import exported
from eval_tasks.lm_eval.model import LabLM
from eval_tasks.plan import Settings
from leaderboards.store import Store
from tests.doubles import Scripted
from tests.folders import DATA
from tests.tasks import charts

ROOT = DATA / "chartqa"
PREDICTIONS = ROOT / "predictions" / "qwen2.5-vl-7b.json"
CHARTQA = task.get("chartqa")


def asked(model: Any, data: Path) -> Any:
    """What lm-eval says of the model's answers to our ChartQA."""
    return lm_eval.simple_evaluate(
        model=LabLM(model),
        tasks=[exported(CHARTQA, data)],
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),
    )


def compared(said: Any, results: Path, run_id: str) -> int:
    """How many samples have equal scores under every metric on both sides; all have to."""
    found = Store(results).samples(run_id)
    records = {
        row[found.columns.index("sample_id")]: dict(zip(found.columns, row, strict=True)) for row in found.fetchall()
    }
    logged = said["samples"]["flab-chartqa"]
    for one in logged:
        record = records[one["doc"]["id"]]
        assert record["answer"] == one["resps"][0][0].strip()
        assert record["scores"] == {str(name): one[str(name)] for name in CHARTQA.metrics}
    assert len(logged) == len(records)
    return len(logged)


@pytest.mark.skipif(not PREDICTIONS.is_file(), reason=f"no ChartQA questions and predictions under FLAB_DATA ({ROOT})")
def test_real_answers_to_real_questions(tmp_path: Path) -> None:
    """A model that gives Qwen2.5-VL's stored answers: 222 questions with their pictures, right and wrong ones."""
    rows = json.loads(PREDICTIONS.read_text())
    answers = {(row["imgname"], row["query"].strip()): row["prediction"] for row in rows}
    samples = CHARTQA.samples("test", ROOT)
    names = {image.digest: Path(image.name).name for sample in samples for image in sample.images}

    def reply(request: fl.Request) -> str:
        (image,) = request.prompt.images
        words = "".join(part for part in request.prompt.turns[-1].parts if isinstance(part, str))
        return f" {answers[names[image.digest], words.strip()]}\n"

    run = runner.run(Scripted(reply), CHARTQA, Settings(data=ROOT), Store(tmp_path))
    said = asked(Scripted(reply), ROOT)
    assert compared(said, tmp_path, run.run_id) == 222
    figures = said["results"]["flab-chartqa"]
    for name in CHARTQA.metrics:
        ours = next(one for one in run.scores if (one.metric, one.variant, one.slice) == (*str(name).split("/"), "all"))
        assert figures[f"{name},none"] == ours.value
    assert 0.5 < figures[f"{CHARTQA.metrics[0]},none"] < 1


@pytest.mark.parametrize("template", ["base", "instruct"])
def test_a_model_is_asked_the_same(template: str, checkpoint: Path, tmp_path: Path) -> None:
    """A base model in running text, a chat model in its own template; the same prompts, so the same answers."""
    is_base = template == "base"
    model = fl.load(checkpoint, wording=template, device="cpu", dtype="float32")
    data = charts.write(tmp_path / "data")
    run = runner.run(model, CHARTQA, Settings(data=data), Store(tmp_path / "results"))
    said = lm_eval.simple_evaluate(
        model=LabLM(model),
        tasks=[exported(CHARTQA, data, wording=run.phrasing, running=is_base)],
        apply_chat_template=not is_base,
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),
    )
    assert compared(said, tmp_path / "results", run.run_id) == 7


def test_a_base_model_answers_in_a_line_as_flab_eval_asks_it(tmp_path: Path) -> None:
    """The example of docs/evaluate.md: without an end an answer would run on into the next question."""
    easy_vqa, model = task.get("easy-vqa"), fl.load("flamingo-tiny", device="cpu", dtype="float32")
    run = runner.run(model, easy_vqa, Settings(limit=8), Store(tmp_path))
    said = lm_eval.simple_evaluate(
        model=LabLM(model),
        tasks=[exported(easy_vqa, running=True)],
        limit=8,
        bootstrap_iters=0,
        task_manager=TaskManager(include_defaults=False),
    )
    assert said["results"]["flab-easy-vqa"][f"{easy_vqa.metrics[0]},none"] == run.scores[0].value == 1


def test_what_cannot_be_exported(tmp_path: Path) -> None:
    for name, wording, said in (
        ("easy-vqa", None, None),
        ("ai2d", "ranked", "ranks options"),
        ("coco-caption", None, "a figure of a whole set"),
    ):
        if said:
            with pytest.raises(UnknownTask, match=said):
                exported(task.get(name), tmp_path, wording=wording)
    assert len(exported(task.get("easy-vqa")).eval_docs) == 9673
