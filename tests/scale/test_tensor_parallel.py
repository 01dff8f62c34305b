"""A model split over two processes answers like the whole one: same tokens, and logits as far as sums in another order go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.families.goldens import Golden
from tests.folders import GOLDENS, ROOT
from tests.scale import pair

pytestmark = pytest.mark.skipif(
    not (GOLDENS / pair.SCENES[0]).is_dir(), reason=f"no goldens under FLAB_GOLDENS ({GOLDENS})"
)

TOLERANCE = 1e-4

ON_GPUS = ("cross-attention", "grouped heads", "experts with gates", "fused projections, log-n")


@dataclass(frozen=True)
class Found:
    """What several processes gave together."""

    results: dict[str, Any]
    logits: dict[str, Tensor]


def run(out: Path, ranks: int, mechanisms: list[str], device: str = "cpu") -> Found:
    """What `pair` gives under torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    asked = ["-m", "tests.scale.pair", str(out), device, *mechanisms]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    made = subprocess.run([*command, *asked], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=600)
    assert made.returncode == 0, made.stderr
    return Found(json.loads((out / "found.json").read_text()), load_file(out / "logits.safetensors"))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return run(tmp_path_factory.mktemp("two"), 2, list(pair.MECHANISMS))


@pytest.fixture(scope="module")
def scenes() -> dict[str, Any]:
    """The answers of the whole model to the questions that are asked under difficulties."""
    golden = Golden(GOLDENS / pair.SCENES[0])
    return pair.answered(pair.load(golden, pair.SCENES[1]), pair.several(golden))


def assert_equal(ours: dict[str, Any], expected: dict[str, Any]) -> None:
    assert ours.keys() == expected.keys()
    for name, answer in expected.items():
        if answer["error"] is None:
            assert ours[name] == {**answer, "logprob": pytest.approx(answer["logprob"], abs=TOLERANCE)}
        else:
            assert ours[name] == answer


def assert_as_the_whole_model(found: Found, mechanism: str) -> None:
    golden, name = Golden(GOLDENS / pair.MECHANISMS[mechanism][0]), pair.MECHANISMS[mechanism][1]
    whole, requests = pair.load(golden, name), pair.asked(golden, name)
    expected = pair.logits(whole, requests)
    assert found.logits[mechanism].shape == expected.shape
    assert float((found.logits[mechanism] - expected).abs().max()) <= TOLERANCE
    answers = pair.answered(whole, requests)
    assert all(answer["error"] is None for answer in answers.values())
    assert_equal(found.results[mechanism], answers)


@pytest.mark.parametrize("mechanism", pair.MECHANISMS)
def test_two_processes_answer_as_one(two: Found, mechanism: str) -> None:
    torch.set_num_threads(1)
    assert_as_the_whole_model(two, mechanism)


def test_two_gpus_answer_as_the_cpu(tmp_path: Path) -> None:
    """Pretended ones, and gloo in NCCL's place: no rank mixes devices."""
    torch.set_num_threads(1)
    found = run(tmp_path, 2, list(ON_GPUS), "cuda")
    for mechanism in ON_GPUS:
        assert_as_the_whole_model(found, mechanism)
    assert found.results["facts"]["about"]["device"] == "2 x cuda"


def test_more_processes_than_heads_of_keys_answer_as_one(tmp_path: Path) -> None:
    assert_as_the_whole_model(run(tmp_path, 4, ["grouped heads"]), "grouped heads")


def test_the_digest_is_that_of_the_whole_model_and_the_record_says_how_it_ran(two: Found) -> None:
    golden, name = pair.MECHANISMS[list(pair.MECHANISMS)[-1]]
    whole = pair.load(Golden(GOLDENS / golden), name)
    facts = two.results["facts"]
    assert facts["digest"] == whole.digest
    assert facts["about"] == {**whole.about, "device": "2 x cpu", "tensor_parallel": 2}


def test_requests_are_handed_over_window_by_window(two: Found, scenes: dict[str, Any]) -> None:
    assert_equal(two.results["windows"], scenes)
    assert scenes["broken"]["error"][0] == "BadImage"


def test_answers_that_nobody_waits_for_are_given_up(two: Found, scenes: dict[str, Any]) -> None:
    assert_equal(two.results["given up"], scenes)


def test_a_second_call_before_the_first_has_ended_is_refused_and_the_first_goes_on(
    two: Found, scenes: dict[str, Any]
) -> None:
    said, first, after = two.results["another call"]
    assert "answers one call at a time" in said and "\n" not in said
    assert_equal(first, scenes)
    assert_equal(after, scenes)


def test_too_little_memory_on_one_rank_halves_the_budget_of_all(two: Found, scenes: dict[str, Any]) -> None:
    assert_equal(two.results["memory"]["answers"], scenes)
    assert two.results["memory"]["halved"] > 0


def test_a_question_that_breaks_one_rank_fails_alone(two: Found, scenes: dict[str, Any]) -> None:
    failed = {name: answer for name, answer in two.results["bug"].items() if answer["error"]}
    assert [answer["error"] for answer in failed.values()] == [["RuntimeError", "rank 1: a bug"]]
    whole = {name: answer for name, answer in two.results["bug"].items() if name not in failed}
    assert len(whole) == 2
    assert_equal(whole, {name: scenes[name] for name in whole})


def test_a_budget_that_one_rank_has_not_is_refused_and_the_model_goes_on(two: Found, scenes: dict[str, Any]) -> None:
    refused, after = two.results["refused"]
    assert "--memory 0.00 GiB is less than" in refused
    assert_equal(after, scenes)


def test_pictures_are_kept_and_embedded_by_rank_0(two: Found, scenes: dict[str, Any]) -> None:
    held = two.results["features"]
    for answers in held["answers"]:
        assert_equal(answers, scenes)
    assert held["kept"] > 0
    golden = Golden(GOLDENS / pair.SCENES[0])
    pictures = pair.several(golden)[0].prompt.images[:1]
    expected = pair.load(golden, pair.SCENES[1]).embed(pictures)
    assert np.abs(np.array(held["vectors"]) - expected).max() < 1e-6


def test_a_rank_that_can_compute_nothing_ends_the_run_in_one_line(two: Found) -> None:
    line = "rank 0 lost the connection to another one; what was answered is kept, and the same command goes on"
    assert two.results["broken"] == line
