"""Processes of one model: who starts them, who speaks, and what is left when one of them dies."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from PIL import Image
from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage] - documented all the same

from flamingo_lab import host
from flamingo_lab.cli import run
from flamingo_lab.errors import LostRank
from flamingo_lab.parallel import joining, patience
from flamingo_lab.parallel.launched import AGENT
from tests.folders import ROOT
from tests.scale.made_up import machine

FLAB = [sys.executable, "-m", "flamingo_lab.cli"]
ENVIRON = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
SECONDS = 240


def evaluate(results: Path, *more: str) -> list[str]:
    return ["eval", "--model", "flamingo-tiny", "--tasks", "easy-vqa", "--results", str(results), *more]


def flab(*arguments: str, environ: dict[str, str] | None = None) -> subprocess.Popen[str]:
    command = [*FLAB, *arguments]
    return subprocess.Popen(
        command, env=ENVIRON | (environ or {}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process: subprocess.Popen[str], code: int) -> tuple[str, str]:
    """What a command said on both streams."""
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return out, err


def followers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return [one for one in psutil.Process(process.pid).children() if "flamingo_lab.parallel.follower" in one.cmdline()]


def wait(until: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def journal(results: Path) -> list[dict[str, Any]]:
    """The whole lines of the only run's journal."""
    files = list(results.glob("runs/*/journal.jsonl"))
    return [
        json.loads(line) for file in files for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")
    ]


def record(results: Path) -> dict[str, Any]:
    (file,) = results.glob("runs/*/run.json")
    return json.loads(file.read_text())


def begun(results: Path) -> subprocess.Popen[str]:
    """A long run over two processes, with some of its questions answered."""
    process = flab(*evaluate(results, "--limit", "3000", "--tensor-parallel", "2", "--batch-tokens", "64"))
    wait(lambda: len(journal(results)) > 3 or process.poll() is not None)
    assert process.poll() is None, process.communicate()
    return process


def test_eval_over_two_processes_gives_the_same_run(tmp_path: Path) -> None:
    together = flab(
        *evaluate(tmp_path / "two", "--limit", "12", "--num-fewshot", "2", "--tensor-parallel", "2", "--json")
    )
    alone = flab(*evaluate(tmp_path / "one", "--limit", "12", "--num-fewshot", "2", "--json"))
    tables = [[json.loads(line) for line in ended(one, 0)[0].splitlines()] for one in (together, alone)]
    for name in ("run_id", "metric", "variant", "slice", "value", "n", "n_errors"):
        assert [row[name] for row in tables[0]] == [row[name] for row in tables[1]]
    texts = [{line["id"]: line["token_ids"] for line in journal(tmp_path / results)} for results in ("one", "two")]
    assert texts[0] == texts[1]
    assert record(tmp_path / "two")["hardware"]["device"] == "2 x cpu"


def test_a_rank_that_dies_ends_the_run_in_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    process = begun(tmp_path)
    (other,) = followers(process)
    other.kill()
    began = time.monotonic()
    out, err = ended(process, 2)
    assert time.monotonic() - began < 60
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.startswith("error")]
    assert line == "error: rank 1 was killed by SIGKILL; what was answered is kept, and the same command goes on"
    answered = {line["id"] for line in journal(tmp_path)}
    assert all(line["error"] is None for line in journal(tmp_path))
    assert record(tmp_path)["status"] == "running"
    again = begun(tmp_path)
    wait(lambda: len(journal(tmp_path)) > len(answered))
    others = followers(again)
    assert len(others) == 1
    again.kill()
    again.communicate()
    assert not psutil.wait_procs(others, timeout=SECONDS)[1], "nobody is left behind when rank 0 dies"
    ids = [line["id"] for line in journal(tmp_path)]
    assert len(set(ids)) == len(ids) > len(answered)


def test_ctrl_c_ends_all_of_them_and_the_run_can_go_on(tmp_path: Path) -> None:
    process = begun(tmp_path)
    others = followers(process)
    process.send_signal(signal.SIGINT)
    _, err = ended(process, 130)
    assert "the same command goes on" in err
    assert not psutil.wait_procs(others, timeout=SECONDS)[1]
    assert record(tmp_path)["status"] == "running"


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 64), "red").save(tmp_path / "red.png")
    return tmp_path / "red.png"


def slurm(rank: int) -> dict[str, str]:
    """What a step of Slurm with two tasks tells one of them."""
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "localhost", "SLURM_JOB_ID": str(os.getpid())}
    return step | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}


def test_processes_that_slurm_started_find_each_other_and_the_first_alone_speaks(tmp_path: Path, picture: Path) -> None:
    question = ["ask", "--model", "flamingo-tiny", "--image", str(picture), "what color is it?", "--device", "cpu"]
    tasks = [flab(*question, "--tensor-parallel", "2", environ=slurm(rank)) for rank in range(2)]
    said = [ended(task, 0) for task in tasks]
    assert said[0] == ended(flab(*question), 0)
    assert said[1] == ("", "")


def test_ranks_that_would_compute_something_else_are_refused_by_name(tmp_path: Path, picture: Path) -> None:
    question = ["ask", "--model", "flamingo-tiny", "--image", str(picture), "what color is it?", "--device", "cpu"]
    tasks = [
        flab(*question, "--tensor-parallel", "2", "--dtype", dtype, environ=slurm(rank))
        for rank, dtype in enumerate(("float32", "bfloat16"))
    ]
    said = [ended(task, 2) for task in tasks]
    line = f"error: rank 1 on {socket.gethostname()} has another dtype than rank 0: bfloat16, not float32\n"
    assert said == [("", line), ("", "")]


# How they meet and part.


def held_by_torchrun() -> TCPStore:
    """The store of a meeting, as torchrun holds one."""
    return TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)


def variables(rank: int, port: int) -> dict[str, str]:
    """What torchrun tells one of two processes that meet at this port."""
    told = {"RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {name: str(value) for name, value in told.items()}


@pytest.mark.parametrize("holds_store", ["torchrun", "rank 0"])
def test_ranks_that_do_not_come_are_named_whoever_holds_the_store(
    holds_store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = held_by_torchrun()
    is_torchrun = holds_store == "torchrun"
    for name, value in {**variables(0, store.port if is_torchrun else 0), AGENT: str(is_torchrun)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(patience, "MEETING", timedelta(seconds=1))
    with pytest.raises(LostRank, match="ranks 1 did not come within 1 s"):
        joining.join(2, torch.device("cpu"), None)


class Joined:
    """Ranks that have parted already."""

    is_over = True

    def __init__(self, *given: object, **named: object) -> None: ...


@pytest.mark.parametrize(("told", "threads"), [(None, [2]), ("3", [])])
def test_ranks_share_the_cores_where_their_threads_are_not_told(
    told: str | None, threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    monkeypatch.setattr(joining, "_meet", lambda *given, **named: None)
    monkeypatch.setattr(joining, "Ranks", Joined)
    monkeypatch.setattr(host, "cores", lambda: 8)
    monkeypatch.setattr(torch, "set_num_threads", found.append)
    joining.join(4, torch.device("cpu"), None)
    assert found == threads


def test_the_others_compute_with_as_many_threads_as_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    started: dict[str, Any] = {}

    class Process:
        def __init__(self, command: list[str], **named: Any) -> None:
            started.update(named)
            self.stdin = io.BytesIO()

    monkeypatch.setattr(subprocess, "Popen", Process)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    joining.Follower(joining.alone(2), None)
    assert started["env"]["OMP_NUM_THREADS"] == "5"


LATE = """
import sys, time
from datetime import timedelta
import torch
from flamingo_lab.parallel import joining, patience
patience.TIMEOUT = timedelta(seconds=4)
time.sleep(float(sys.argv[1]))
ranks = joining.join(2, torch.device("cpu"), None)
assert ranks.exchange(ranks.rank) == [0, 1]
ranks.leave()
"""


@pytest.mark.parametrize("late", [0, 1])
def test_a_rank_that_comes_late_is_waited_for_longer_than_one_that_computes(late: int) -> None:
    store = held_by_torchrun()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LATE, "8" if rank == late else "0"],
            env={**ENVIRON, **variables(rank, store.port), AGENT: "True"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    assert [ended[1] for ended in [process.communicate(timeout=SECONDS) for process in processes]] == ["", ""]
    assert [process.returncode for process in processes] == [0, 0]


ONE_AFTER_THE_OTHER = """
import gc
import flamingo_lab as fl
def load():
    return fl.load("flamingo-tiny", tensor_parallel=2, device="cpu")
def answer(model):
    return model.generate(fl.Prompt.raw("Question: is it red? Answer:")).text
model = load()
first = answer(model)
try:
    load()
except fl.LabError as error:
    print(error)
assert answer(model) == first
del model
gc.collect()
model = load()
assert answer(model) == first
"""


def test_a_program_with_two_models_one_after_the_other_ends_without_complaint() -> None:
    """It still holds the second one at its end."""
    ended = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER], env=ENVIRON, capture_output=True, text=True, timeout=SECONDS
    )
    line = "another model of this process is split over several; let go of it before the next one is loaded\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, line, "")


# What a user can get wrong.


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs `flab eval` with options that have to be refused; gives the one line."""
    monkeypatch.chdir(tmp_path)

    def check(*options: str, model: str = "flamingo-tiny") -> str:
        assert run(["eval", "--model", model, "--tasks", "easy-vqa", *options]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        assert line.startswith("error: ")
        assert not (tmp_path / "results" / "runs").exists()
        return line

    return check


def test_a_number_that_does_not_divide_the_heads_is_refused_with_those_that_do(refused: Callable[..., str]) -> None:
    line = refused("--tensor-parallel", "3")
    assert line == "error: --tensor-parallel 3 cannot share the model's 4 heads evenly: 2, 4 would do"


def test_more_gpus_than_there_are_are_refused(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flamingo_lab.loading.here", lambda: machine(8, 80))
    assert "needs 2 GPUs on this machine, which has 1" in refused("--tensor-parallel", "2", "--device", "cuda")
    assert "cuda:0 is one GPU" in refused("--tensor-parallel", "2", "--device", "cuda:0")


def test_other_ways_to_place_weights_are_refused_beside_it(refused: Callable[..., str]) -> None:
    assert "--tensor-parallel and --offload do not go together" in refused("--tensor-parallel", "2", "--offload")


def test_models_that_cannot_be_split_are_refused(refused: Callable[..., str]) -> None:
    assert "seal is made of several models" in refused("--tensor-parallel", "2", model="seal")
    assert "takes no --tensor-parallel" in refused("--tensor-parallel", "2", model="hf:some/model")
    assert "takes no --tensor-parallel" in refused("--tensor-parallel", "2", model="openai:some-model")


def test_another_number_than_torchrun_started_is_refused(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert "--tensor-parallel 2, but 4 processes were started together; say 4" in refused("--tensor-parallel", "2")
