"""A miniature of the bundled model's training: it learns, freezes what it should, and survives being killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import flamingo_lab as fl
from flamingo_lab.train import tiny
from flamingo_lab.train.optimise import SAVE_EVERY
from flamingo_lab.train.stages import JOIN, LANGUAGE, STAGES, TOWER
from tests.folders import ROOT
from tests.tasks import charts
from tests.train.miniature import MINIATURE, SEED, STEPS, THREADS

KILLS = ((LANGUAGE, SAVE_EVERY + 4), (TOWER, 60), (JOIN, SAVE_EVERY + 3))
"""Behind a stage's checkpoint, and in a stage that has none yet."""


@dataclass
class Trained:
    """What a training left: its folder, and by stage the steps it took and their losses."""

    out: Path
    steps: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict[str, list[int]](list))
    losses: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict[str, list[float]](list))

    def note(self, stage: str, step: int, loss: float) -> None:
        self.steps[stage].append(step)
        self.losses[stage].append(loss)

    @property
    def model(self) -> Path:
        return self.out / tiny.NAME

    def parameters(self, stage: str) -> dict[str, torch.Tensor]:
        """What the stage trained, as its last checkpoint holds it in float32."""
        held: dict[str, Any] = torch.load(self.out / f"{stage}.pt", weights_only=True)
        assert held["step"] == STEPS
        return held["parameters"]


def trained(out: Path) -> Trained:
    found = Trained(out)
    assert tiny.train(out, seed=SEED, progress=found.note, tiny=MINIATURE) == found.model
    return found


@pytest.fixture(scope="module", autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("stage", STAGES)
def test_the_loss_falls(stage: str, whole: Trained) -> None:
    losses = whole.losses[stage]
    assert whole.steps[stage] == list(range(1, STEPS + 1))
    assert sum(losses[-10:]) < 0.9 * sum(losses[:10])


def test_the_last_stage_leaves_language_model_and_tower_as_they_were(whole: Trained) -> None:
    """Bit by bit, in the finished model's dtype."""
    finished = fl.load(whole.model, device="cpu", dtype="bfloat16")
    for stage, part in ((LANGUAGE, "decoder"), (TOWER, "tower")):
        names = [name for name, _ in finished.vlm.get_submodule(part).named_parameters()]
        after = {name: finished.weight(f"{part}.{name}") for name in names}
        before = {name: value for name, value in whole.parameters(stage).items() if not name.startswith("match.")}
        assert after.keys() - before.keys() <= {"embedding.extra", "post_norm.weight", "post_norm.bias"}
        for name, value in before.items():
            assert torch.equal(after[name], value.bfloat16()), name


def test_the_last_stage_trains_what_joins_the_two_and_nothing_else(whole: Trained) -> None:
    found = whole.parameters(JOIN)
    assert {name.split(".")[0] for name in found} == {"connector", "join", "decoder"}
    assert [name for name in found if name.startswith("decoder")] == ["decoder.embedding.extra"]
    gates = [value for name, value in found.items() if name.endswith("_gate")]
    assert gates
    assert all(gate.abs().min() > 0 for gate in gates), "a gate is as it began"


def test_the_finished_folder_loads_and_answers(whole: Trained, tmp_path: Path) -> None:
    model = fl.load(whole.model, device="cpu")
    picture = fl.Image(charts.write(tmp_path) / "ChartQA Dataset" / "test" / "png" / "human-0.png")
    shot = fl.Shot(picture, "what shape is present?", answer="circle")
    answer = model.answer(picture, "what shape is present?", shots=[shot], max_new_tokens=4)
    assert (answer.images, answer.error) == (2, None)
    assert answer.token_ids


def test_a_training_killed_in_each_stage_ends_with_the_same_weights(whole: Trained, tmp_path: Path) -> None:
    for stage, step in KILLS:
        command = [sys.executable, "-m", "tests.train.miniature", str(tmp_path), stage, str(step)]
        assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
        assert not (tmp_path / tiny.NAME).exists()
    again = trained(tmp_path)
    assert again.steps == {JOIN: list(range(SAVE_EVERY + 1, STEPS + 1))}, "steps were taken twice"
    for stage in STAGES:
        expected, found = whole.parameters(stage), again.parameters(stage)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert torch.equal(value, found[name]), name
    for file in whole.model.iterdir():
        assert file.read_bytes() == (again.model / file.name).read_bytes(), file.name
