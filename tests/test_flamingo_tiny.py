"""The bundled model on real pictures and on new words: how well it answers, that it does so by looking, and how soon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import flamingo_lab as fl
from eval_tasks import runner, task
from eval_tasks.plan import Settings
from flamingo_lab import hub
from leaderboards.store import Store
from tests.folders import ROOT

NAME = "flamingo-tiny"
QUESTIONS, EPISODES = 500, 300
WEIGHTS_MB = 8
SECONDS = 10


@pytest.fixture(scope="module")
def model() -> fl.LoadedModel:
    return fl.load(NAME, device="cpu")


def accuracy(model: fl.LoadedModel, results: Path, name: str, limit: int, shots: int = 0, *flags: str) -> float:
    settings = Settings(num_fewshot=shots, limit=limit, options=frozenset(flags))
    run = runner.run(model, task.get(name), settings, Store(results))
    whole = run.scores[0]
    assert (run.status, whole.slice, whole.n, run.n_errors) == ("complete", "all", limit, 0)
    assert whole.value is not None
    return whole.value


def test_it_answers_questions_about_real_pictures(model: fl.LoadedModel, tmp_path: Path) -> None:
    """On the test split's first questions; all of them are measured in docs/training.md."""
    found = accuracy(model, tmp_path, "easy-vqa", QUESTIONS)
    assert found >= 0.99


def test_with_another_picture_in_the_right_ones_place_it_fails(model: fl.LoadedModel, tmp_path: Path) -> None:
    found = accuracy(model, tmp_path, "easy-vqa", QUESTIONS, 0, "other-pictures")
    assert found < 0.65


def test_it_cannot_know_new_words_without_shots(model: fl.LoadedModel, tmp_path: Path) -> None:
    found = accuracy(model, tmp_path, "shapes-binding", EPISODES)
    assert found <= 0.02


def test_four_shots_teach_it_two_new_words(model: fl.LoadedModel, tmp_path: Path) -> None:
    found = accuracy(model, tmp_path, "shapes-binding", EPISODES, 4)
    assert found >= 0.90


def test_with_the_shots_pictures_shuffled_it_guesses_between_the_two(model: fl.LoadedModel, tmp_path: Path) -> None:
    found = accuracy(model, tmp_path, "shapes-binding", EPISODES, 4, "shuffle-pictures")
    assert 0.40 <= found <= 0.60


def test_its_weights_are_small_enough_to_ship() -> None:
    assert (hub.locate(NAME) / "model.safetensors").stat().st_size <= WEIGHTS_MB * 1e6


def test_twenty_questions_from_start_to_end_take_seconds(tmp_path: Path) -> None:
    """Counted as the process's time on the processor, which no other work on this machine lengthens."""
    command = [sys.executable, "-m", "flamingo_lab.cli", "eval", "--model", NAME, "--tasks", "easy-vqa"]
    command += ["--limit", "20", "--results", str(tmp_path / "results"), "--json"]
    with (tmp_path / "out").open("w+") as out:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)  # reaped here, so that nobody waits for it again
        out.seek(0)
        rows = [json.loads(line) for line in out]
    assert process.returncode == 0
    assert rows[0]["n"] == 20
    assert used.ru_utime + used.ru_stime <= SECONDS
