"""What authors cut off an answer belongs to a wording, or to a family's own form: it is scored, and the whole answer kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import flamingo_lab as fl
from eval_tasks import plan as plans
from eval_tasks import postprocess, runner, task
from eval_tasks.plan import Settings
from eval_tasks.wording import FAMILYS
from leaderboards.records import Run
from leaderboards.store import Store
from tests.doubles import Scripted
from tests.families.tiny_open_flamingo import write_checkpoint
from tests.tasks.benchmarks import BUILDERS, FILES, captions, questions

assert captions and questions  # they register their builders

SAID = " red, I think.Question:What else? Short answer:blue"
FLAMINGOS = {fl.Prompt.ask().running: "openflamingo-vqa"}


def run(root: Path, wording: str, cuts: dict[str, str] | None = None) -> tuple[Run, list[dict[str, Any]]]:
    BUILDERS["vqav2", FILES](root)
    model = Scripted(lambda request: SAID, about={"reads": "running text", "cuts": cuts or {}})
    store = Store(root / "results")
    made = runner.run(model, task.get("vqav2"), Settings(data=root, wording=wording), store)
    found = store.samples(made.run_id)
    return made, [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


@pytest.mark.parametrize(
    ("wording", "cuts", "cut", "answer"),
    [
        ("openflamingo", {}, "openflamingo-vqa", "red"),
        ("idefics", {}, "idefics-vqa", "red, I think."),
        ("plain", FLAMINGOS, "openflamingo-vqa", "red"),
        ("plain", {}, "", SAID.strip()),
        ("short-answer", FLAMINGOS, "", SAID.strip()),
    ],
)
def test_what_is_cut_is_scored_and_the_whole_answer_is_kept(
    wording: str, cuts: dict[str, str], cut: str, answer: str, tmp_path: Path
) -> None:
    made, records = run(tmp_path, wording, cuts)
    assert made.settings["cut"] == cut
    assert {record["answer"] for record in records} == {answer}
    assert {record["answer_raw"] for record in records} == {SAID}
    assert records[0]["scores"]["vqa_accuracy/gt-vision-lab-uploaded"] == float(answer == "red")


def test_every_cut_of_a_wording_is_one_that_there_is() -> None:
    cuts = {wording.cut for name in task.names() for wording in task.get(name).wordings}
    assert cuts >= {"", FAMILYS, "openflamingo-vqa", "openflamingo-caption-unquoted", "idefics-vqa", "idefics-caption"}
    for cut in cuts - {"", FAMILYS}:
        assert postprocess.get(cut)


def test_open_flamingos_own_form_is_cut_as_its_authors_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "check", lambda *_: None)  # captions need Java only once they are scored
    loaded = write_checkpoint(tmp_path / "model").load()
    for name, cut in (("vqav2", "openflamingo-vqa"), ("coco-caption", "openflamingo-caption-unquoted")):
        BUILDERS[name, FILES](tmp_path / name)
        made = plans.plan(loaded, task.get(name), Settings(data=tmp_path / name, wording="plain"))
        assert made.cut == cut
        item = runner.Item(runner.Prediction('a "cat"Output:x'), runner.Targets(()))
        assert made.heard(item).prediction.text == ("a cat" if name == "coco-caption" else 'a "cat"Output:x')


def test_captions_lose_their_quotation_marks() -> None:
    cut = postprocess.get("openflamingo-caption-unquoted")
    assert cut('"a dog" runsOutput: more') == "a dog runs"
