"""A checkpoint in IDEFICS's published layout answers real ChartQA questions after four real worked examples."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import flamingo_lab as fl
from eval_tasks import runner, task
from eval_tasks.plan import Settings
from eval_tasks.task import Sample
from flamingo_lab import cli
from leaderboards.records import Run
from leaderboards.store import Store
from tests.families.tiny_idefics import write_checkpoint
from tests.folders import DATA

ROOT = DATA / "chartqa"
PREDICTIONS = ROOT / "predictions" / "qwen2.5-vl-7b.json"

pytestmark = pytest.mark.skipif(
    not (ROOT / "test" / "png").is_dir(), reason=f"no ChartQA questions and pictures under FLAB_DATA ({ROOT})"
)

CHARTQA = task.get("chartqa")
SHOTS = 4
HUMAN, AUGMENTED, PICTURES = 132, 90, 136
INTERRUPTED_AFTER = 90

LEFT_OUT = {"logprob": 0.0, "seconds": 0.0}
"""Not compared bit by bit between two runs."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny-idefics"
    write_checkpoint(folder, {"max_position_embeddings": 2048}, seed=0)
    return folder


class Evaluated(NamedTuple):
    """What `flab eval` left behind: its exit code, the run's record, and the samples' in the benchmark's order."""

    code: int
    run: Run
    records: list[dict[str, Any]]


def stored(results: Path, code: int = 0) -> Evaluated:
    (run,) = Store(results).runs()
    found = Store(results).samples(run.run_id)
    return Evaluated(code, run, [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()])


def evaluate(model: Path, results: Path, *more: str) -> int:
    where = ("--data", str(ROOT), "--results", str(results), "--device", "cpu", "--dtype", "float32")
    return cli.run(["eval", "--model", str(model), "--tasks", "chartqa", *where, *more])


@pytest.fixture(scope="module")
def evaluated(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    results = tmp_path_factory.mktemp("results")
    code = evaluate(checkpoint, results, "--num-fewshot", str(SHOTS))
    return stored(results, code)


@pytest.fixture(scope="module")
def pool() -> dict[str, Sample]:
    """The training questions by id."""
    return {sample.id: sample for sample in CHARTQA.samples("train", ROOT)}


def test_every_question_is_answered(evaluated: Evaluated) -> None:
    run = evaluated.run
    assert (evaluated.code, run.status, run.n, run.n_errors) == (0, "complete", HUMAN + AUGMENTED, 0)
    assert len({record["sample_id"] for record in evaluated.records}) == len(evaluated.records) == run.n
    assert len({record["document"] for record in evaluated.records}) == PICTURES
    assert run.counters["images_referenced"] == run.n * (SHOTS + 1)


def test_the_two_kinds_are_scored_apart_and_the_whole_is_their_mean(evaluated: Evaluated) -> None:
    scores = {score.slice: score for score in evaluated.run.scores if score.variant == "pix2struct"}
    assert {name: score.n for name, score in scores.items()} == {
        "all": HUMAN + AUGMENTED,
        "kind=human": HUMAN,
        "kind=augmented": AUGMENTED,
    }
    for score in scores.values():
        assert score.value is not None and score.low is not None and score.high is not None
        assert score.low <= score.value <= score.high
        assert score.low < score.high
    human, augmented, whole = (scores[name].value for name in ("kind=human", "kind=augmented", "all"))
    assert whole == pytest.approx(((human or 0) + (augmented or 0)) / 2)
    assert Counter(record["slices"]["kind"] for record in evaluated.records) == {"human": HUMAN, "augmented": AUGMENTED}


def test_every_record_is_complete(evaluated: Evaluated) -> None:
    names = {str(metric) for metric in CHARTQA.metrics}
    for record in evaluated.records:
        assert record["question"] and record["targets"] and record["document"]
        assert record["answer_raw"] is not None
        assert record["answer"] == record["answer_raw"].strip()
        assert record["logprob"] < 0
        assert record["scores"].keys() == names
        assert set(record["scores"].values()) <= {0.0, 1.0}
        assert record["prompt_tokens"] > len(record["question"]) / 2
        assert 0 < record["generated_tokens"] <= CHARTQA.max_new_tokens
        assert record["seconds"] > 0
        assert (record["error_kind"], record["error"]) == (None, None)


def test_the_prompt_as_sent_holds_four_worked_examples_and_five_pictures(
    evaluated: Evaluated, pool: dict[str, Sample]
) -> None:
    """The shots' pictures, questions and answers, then the question's, in this order and nothing left out."""
    behind: set[str] = set()
    for record in evaluated.records:
        shots = [pool[identity] for identity in record["shot_ids"]]
        assert len(shots) == SHOTS
        digests = [*(shot.images[0].digest for shot in shots), record["image_digests"][-1]]
        assert record["image_digests"] == digests
        assert record["n_images"] == len(digests) == SHOTS + 1
        pieces: list[str] = []
        for shot, digest in zip(shots, digests, strict=False):
            pieces += [digest[:12], shot.question, shot.targets[0]]
        begin = 0
        for piece in (*pieces, digests[-1][:12], record["question"]):
            begin = record["prompt"].index(piece, begin) + len(piece)
        assert record["prompt"].count("<image:") == SHOTS + 1
        behind.add(record["prompt"][begin:])
    assert len(behind) == 1, "what follows the question depends on it"


def test_shots_share_neither_picture_nor_document_with_their_question(
    evaluated: Evaluated, pool: dict[str, Sample]
) -> None:
    for record in evaluated.records:
        shots = [pool[identity] for identity in record["shot_ids"]]
        assert len({shot.id for shot in shots}) == SHOTS
        assert record["document"] not in {shot.document for shot in shots}
        assert record["image_digests"][-1] not in record["image_digests"][:-1]
    drawn = {identity for record in evaluated.records for identity in record["shot_ids"]}
    assert drawn == pool.keys(), "222 random draws of 4 from 60 meet every example"


def test_digests_are_those_of_the_real_pictures(evaluated: Evaluated) -> None:
    of_file = {path: fl.Image(ROOT / path).digest for path in {r["image_paths"][-1] for r in evaluated.records}}
    assert len(of_file) == PICTURES
    assert all(record["image_digests"][-1] == of_file[record["image_paths"][-1]] for record in evaluated.records)


def test_an_interrupted_run_goes_on_and_ends_the_same(checkpoint: Path, evaluated: Evaluated, tmp_path: Path) -> None:
    def stop(done: int, total: int, errors: int) -> None:
        if done >= INTERRUPTED_AFTER:
            raise KeyboardInterrupt

    model = fl.load(checkpoint, device="cpu", dtype="float32")
    settings = Settings(num_fewshot=SHOTS, data=ROOT)
    with pytest.raises(KeyboardInterrupt):
        runner.run(model, CHARTQA, settings, Store(tmp_path), progress=stop)
    (journal,) = tmp_path.glob("runs/*/journal.jsonl")
    kept = journal.read_bytes()
    assert len(kept.splitlines()) == INTERRUPTED_AFTER
    assert not list(tmp_path.glob("runs/*/samples.parquet"))
    assert evaluate(checkpoint, tmp_path, "--num-fewshot", str(SHOTS)) == 0
    assert journal.read_bytes().startswith(kept), "what was kept stays as it was"
    assert len(journal.read_bytes().splitlines()) == evaluated.run.n, "nothing was asked twice"
    resumed = stored(tmp_path)
    assert resumed.run.run_id == evaluated.run.run_id
    assert resumed.run.scores == evaluated.run.scores
    for record, whole in zip(resumed.records, evaluated.records, strict=True):
        # Other questions share its batch, and float32 sums round accordingly: 3e-6 of 70 was seen.
        assert record["logprob"] == pytest.approx(whole["logprob"], abs=1e-4)
        assert record | LEFT_OUT == whole | LEFT_OUT


def test_data_is_the_benchmarks_own_root_and_an_absent_part_matters_when_asked_for(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no val split here, and no human part of train."""
    assert evaluate(checkpoint, tmp_path, "--split", "train", "--limit", "3") == 0
    (run,) = Store(tmp_path).runs()
    assert {score.slice for score in run.scores} == {"all", "kind=augmented"}
    capsys.readouterr()
    assert evaluate(checkpoint, tmp_path, "--split", "val") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(ROOT / "val") in line and "val_human.json or val_augmented.json is expected" in line
    assert evaluate(checkpoint, tmp_path, "--limit", "3", "--data", str(DATA / "samples")) == 2
    assert f"{DATA / 'samples' / 'test'}: no questions of the test split here" in capsys.readouterr().err


@pytest.mark.skipif(not PREDICTIONS.is_file(), reason=f"no predictions under FLAB_DATA ({PREDICTIONS})")
def test_score_of_real_predictions_is_the_printed_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["score", "--task", "chartqa", "--predictions", str(PREDICTIONS), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {(row["task"], row["metric"], row["variant"], row["n_errors"]) for row in rows} == {
        ("chartqa", "relaxed_accuracy", "pix2struct", 0)
    }
    assert {row["slice"]: (row["n"], round(100 * row["value"], 2)) for row in rows} == {
        "split=test_human": (1250, 80.72),
        "split=test_augmented": (1250, 94.96),
        "all": (2500, 87.84),
    }
    assert all(row["low"] < row["value"] < row["high"] for row in rows)
