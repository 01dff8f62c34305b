"""Further metrics by name: which ones fit a task, and what a run or a rescore makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from eval_tasks import fitting, metrics, okvqa_stems, runner, task
from eval_tasks.errors import PartialSet, UnknownTask
from eval_tasks.plan import Settings
from eval_tasks.predictions import unanswered
from eval_tasks.rescore import rescore
from flamingo_lab import cli
from leaderboards.records import Run
from leaderboards.store import Store
from tests.doubles import Scripted
from tests.families.tiny_idefics import write_checkpoint
from tests.tasks import charts
from tests.tasks.benchmarks import BUILDERS, FILES, captions, choices, questions

assert captions and choices and questions  # they register their builders

FIT = {
    "vqav2": "vqa_accuracy/openflamingo vqa_accuracy/idefics-m4 vqa_accuracy/lavis vqa_accuracy/gt-vision-lab-normalised",
    "textvqa": "vqa_accuracy/openflamingo vqa_accuracy/idefics-m4",
    "okvqa": "vqa_accuracy/evalai vqa_accuracy/idefics-m4",
    "docvqa": "anls/st-vqa anls/mp-docvqa",
    "chartqa": "relaxed_accuracy/idefics-m4 containment/substring",
    "mmmu": "mmmu/official-draw mmmu/parsed",
    "gqa": "gqa_suite/official gqa_suite/without-choices",
    "coco-caption": "captions/raw spice/official",
    "mathvista": "mathvista/official",
}
"""Metrics that are not the task's own and read its answers."""

UNFIT = {
    "vqav2": "gqa_suite/official iou/xyxy mathvista/official rank/mean captions/ptb choice/letter grades/mean",
    "chartqa": "vqa_accuracy/gt-vision-lab pope/official mmbench/circular spice/official",
    "refcoco": "iou/xyxy exact_match/strip-lower",
    "mmvet": "exact_match/strip-lower captions/ptb",
    "gqa": "vqa_accuracy/evalai",
    "hateful-memes": "rank/mean anls/rrc",
}

LAVIS, DRAWN = metrics.named("vqa_accuracy/lavis"), metrics.named("mmmu/official-draw")
M4 = metrics.named("relaxed_accuracy/idefics-m4")


@pytest.fixture(autouse=True)
def without_nltk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words without their parts of speech: NLTK's data sets come from a place of their own."""
    monkeypatch.setattr(okvqa_stems, "check", lambda: None)
    monkeypatch.setattr(okvqa_stems, "tagged", lambda text: tuple((word, "") for word in text.split()))


def reasons(name: str, named: str, root: Path) -> dict[str, str]:
    found = task.get(name)
    tiny = BUILDERS[name, FILES](root)
    items = [unanswered(sample) for sample in found.samples(tiny.split, root)]
    wording = found.wordings[0]
    return {one: fitting.unfit(metrics.named(one), found, wording, items) for one in named.split()}


@pytest.mark.parametrize("name", FIT)
def test_a_metric_that_finds_the_right_answers_right_fits(name: str, tmp_path: Path) -> None:
    assert set(reasons(name, FIT[name], tmp_path).values()) == {""}


@pytest.mark.parametrize("name", UNFIT)
def test_a_metric_that_reads_something_else_does_not_fit(name: str, tmp_path: Path) -> None:
    assert all(reasons(name, UNFIT[name], tmp_path).values())


@pytest.mark.parametrize("key", BUILDERS, ids="-".join)
def test_a_tasks_own_metrics_fit_it(key: tuple[str, str], tmp_path: Path) -> None:
    found = task.get(key[0])
    tiny = BUILDERS[key](tmp_path)
    items = [unanswered(sample) for sample in found.samples(tiny.split, tmp_path)]
    for wording in found.wordings:
        for name in found.metrics_of(wording, frozenset()):
            assert fitting.unfit(name, found, wording, items) == ""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return charts.write(tmp_path / "data")


def ran(data: Path, *also: str) -> Run:
    settings = Settings(data=data, also=tuple(map(metrics.named, also)))
    return runner.run(Scripted(), task.get("chartqa"), settings, Store(data.parent / "results"))


def test_the_order_of_metrics_and_a_tasks_own_one_make_no_other_run(data: Path) -> None:
    plain, more = ran(data), ran(data, "anls/rrc", str(M4))
    assert {str(score.metric) for score in more.scores} == {"relaxed_accuracy", "exact_match", "anls"}
    assert ran(data, str(M4), "anls/rrc", str(M4)).run_id == more.run_id != plain.run_id
    assert ran(data, "relaxed_accuracy/pix2struct").run_id == plain.run_id
    assert [score for score in more.scores if score in plain.scores] == list(plain.scores)


def test_a_rescore_adds_metrics_that_stay(data: Path, tmp_path: Path) -> None:
    store, run = Store(tmp_path / "results"), ran(data)
    found = rescore(store, run.run_id, None, [M4])
    assert [score for score in found.after.scores if score in run.scores] == list(run.scores)
    assert [score for score in found.after.scores if score not in run.scores] == [
        score for score in ran(data, str(M4)).scores if score not in run.scores
    ]
    assert found.after.settings["also"] == [str(M4)] and found.after.run_id == run.run_id
    assert (found.n_changed, found.added) == (0, [str(M4)]), "the scores that there were stay as they are"
    assert rescore(store, run.run_id).aside is None, "they are the run's now"


def test_a_rescore_keeps_the_metrics_that_the_run_was_told(data: Path, tmp_path: Path) -> None:
    assert rescore(Store(tmp_path / "results"), ran(data, str(M4)).run_id).aside is None


def test_a_rescore_refuses_what_does_not_fit(data: Path, tmp_path: Path) -> None:
    store, run = Store(tmp_path / "results"), ran(data)
    with pytest.raises(
        UnknownTask, match=r"--metric vqa_accuracy/lavis does not fit chartqa: .*; vqa_accuracy/idefics-m4"
    ):
        rescore(store, run.run_id, None, [LAVIS])
    cut = runner.run(Scripted(), task.get("chartqa"), Settings(data=data, limit=3), store)
    with pytest.raises(PartialSet, match="--allow-partial"):
        rescore(store, cut.run_id, None, [DRAWN])
    assert store.run(run.run_id) == run


Evaluate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def model(tmp_path: Path) -> str:
    write_checkpoint(tmp_path / "tiny", {"max_position_embeddings": 2048}, seed=0)
    return str(tmp_path / "tiny")


@pytest.fixture
def evaluated(
    data: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Evaluate:
    """Runs `flab eval`; gives its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)

    def evaluate(*more: str, tasks: str = "chartqa") -> tuple[int, str, str]:
        code = cli.run(["eval", "--model", model, "--tasks", tasks, "--data", str(data), *more])
        out, err = capsys.readouterr()
        return code, out, err

    return evaluate


def test_further_metrics_on_the_command_line(evaluated: Evaluate, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = evaluated("--metric", str(M4), "--metric", "anls/rrc", "--limit", "3", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert {(row["metric"], row["variant"]) for row in rows} >= {("relaxed_accuracy", "idefics-m4"), ("anls", "rrc")}
    code, out, _ = evaluated("--metric", "anls/rrc", "--limit", "3", "--json", "--phrasing", "all")
    assert code == 0 and "anls" in {json.loads(line).get("metric") for line in out.splitlines()}
    code, out, _ = evaluated("--metric", "anls/rrc", "--limit", "3", "--seeds", "0,1", "--num-fewshot", "1")
    assert code == 0
    for metric in ("relaxed_accuracy", "anls"):
        told = [line for line in out.splitlines() if f" {metric} " in line]
        assert len(told) == 3, out  # two seeds and their spread
    run_id = rows[0]["run_id"]
    assert cli.run(["results", "rescore", run_id, "--metric", "containment/substring"]) == 0
    said = capsys.readouterr().out
    assert "containment/substring 0.0 [" in said
    assert "; 3 questions scored by containment/substring too, 0 changed; " in said and "->" not in said
    assert cli.run(["results", "rescore", run_id, "--metric", "iou/xyxy"]) == 2
    assert "--metric iou/xyxy does not fit chartqa: it finds most" in capsys.readouterr().err


def test_metrics_are_refused_before_a_model_is_loaded(evaluated: Evaluate, model: str, tmp_path: Path) -> None:
    next(Path(model).glob("*.safetensors")).write_bytes(b"no weights")
    for named, said in {
        "anls": "METRIC/VARIANT is expected, anls/rrc for example",
        "anl/rrc": "did you mean anls",
        "anls/rc": "metric anls has no variant 'rc'; there are rrc,",
        "vqa_accuracy/evalai": "does not fit chartqa: it finds most of the right answers wrong; vqa_accuracy/idefics-m4,",
        "rank/mean": "does not fit chartqa: it reads the scores of ranked options",
    }.items():
        code, out, err = evaluated("--metric", named)
        assert (code, out, err.count("\n")) == (2, "", 1) and said in err, err
    code, _, err = evaluated("--metric", "mmmu/official-draw", "--limit", "2")
    assert code == 2 and "--allow-partial" in err
    code, _, err = evaluated("--metric", "iou/xyxy", tasks="chartqa,easy-vqa")
    assert code == 2 and "--metric iou/xyxy does not fit chartqa: " in err and "; easy-vqa: " in err
    assert not (tmp_path / "results").exists()


def test_a_metric_is_applied_where_it_fits(evaluated: Evaluate, tmp_path: Path) -> None:
    for name in ("vqav2", "chartqa"):
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        BUILDERS[name, FILES](tmp_path / "data" / name)
    code, _, err = evaluated("--metric", str(LAVIS), "--limit", "1", tasks="chartqa,vqav2")
    assert code == 0 and f"chartqa: --metric {LAVIS} is left out: it finds most of the right answers wrong" in err
    assert {run.task: run.settings["also"] for run in Store(Path("results")).runs()} == {
        "chartqa": [],
        "vqav2": [str(LAVIS)],
    }
