"""Replicas on a real cluster: the answers of one machine, whatever is lost on the way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image as pil

import flamingo_lab as fl
from eval_tasks import runner, task
from eval_tasks.plan import Settings
from flamingo_lab import notes
from flamingo_lab.errors import BadCluster, BadNode, BadSetting
from flamingo_lab.replicas import driver, fleet
from leaderboards.store import Store
from tests.backends.faulty import FaultyServer, echo
from tests.folders import ROOT
from tests.scale.conftest import ThreeNodes
from tests.scale.replicated import KILLER, POISON, WEIGHTS, on_gpus, requests, scripted, split, start
from tests.search.tiny_seal import PARTS, needs_goldens


@pytest.fixture(autouse=True)
def _notes_are_said_anew() -> None:
    notes.forget()


def texts(answers: Iterator[fl.Answer]) -> dict[str, str]:
    """Every answer by its request; none may come twice."""
    found = list(answers)
    assert max(Counter(one.id for one in found).values(), default=1) == 1
    return {one.id: one.text for one in found}


def expected(asked: list[fl.Request]) -> dict[str, str]:
    return {one.id: one.id for one in asked}


def rows(folder: Path) -> list[dict[str, Any]]:
    """The records of the only run's samples, without the times."""
    store = Store(folder)
    (found,) = store.runs()
    records = store.samples(found.run_id)
    return [dict(zip(records.columns, row, strict=True)) | {"seconds": 0} for row in records.fetchall()]


def comparable(folder: Path) -> tuple[Any, ...]:
    """A run without what times and machines change."""
    (found,) = Store(folder).runs()
    return found.run_id, found.status, found.scores, found.model_digest, rows(folder)


def ask_on(model: driver.Replicas, until: Callable[[], bool], seconds: float = 60) -> None:
    """Ask until something is so, with no question lost."""
    began = time.monotonic()
    while not until():
        assert time.monotonic() - began < seconds
        assert texts(model.answers(asked := requests(40))) == expected(asked)


def test_a_run_on_three_nodes_is_the_run_of_one_machine(three: ThreeNodes, tmp_path: Path) -> None:
    settings = Settings(num_fewshot=2, limit=150)
    model = start(three.address, 3)
    assert model.state == "3 replicas"
    many = runner.run(model, task.get("shapes-binding"), settings, Store(tmp_path / "many"))
    one = runner.run(scripted(), task.get("shapes-binding"), settings, Store(tmp_path / "one"))
    assert comparable(tmp_path / "many") == comparable(tmp_path / "one")
    assert (many.replicas, one.replicas) == (3, 1)


def test_each_replica_tells_what_it_did(three: ThreeNodes, tmp_path: Path) -> None:
    """With the bundled model, whose engine counts; its table is that of one machine."""
    command = ["eval", "--model", "flamingo-tiny", "--tasks", "easy-vqa", "--limit", "60", "--num-fewshot", "1"]
    ended = flab(*command, "--results", tmp_path / "many", "--ray", three.address, "--replicas", "2")
    assert ended.returncode == 0, ended.stderr
    assert "2 replicas with 1 core each on 3 nodes" in ended.stderr
    assert re.search(r"^2 replicas on cpu in (float32|bfloat16)$", ended.stderr, re.MULTILINE)
    assert flab(*command, "--results", tmp_path / "one").returncode == 0
    (many,), (one,) = Store(tmp_path / "many").runs(), Store(tmp_path / "one").runs()
    assert (many.run_id, many.replicas) == (one.run_id, 2)
    assert many.peak_memory and one.peak_memory and one.peak_memory / 2 < many.peak_memory < 2 * one.peak_memory
    assert [(score.metric, score.slice, score.value) for score in many.scores] == [
        (score.metric, score.slice, score.value) for score in one.scores
    ]
    assert many.counters["prompt_tokens_asked"] >= one.counters["prompt_tokens_asked"]  # some are asked twice
    told = {name.partition(" on ")[0] for name in many.stages if name.startswith("answer: replica")}
    assert told == {"answer: replica 0", "answer: replica 1"}
    for there, here in zip(rows(tmp_path / "many"), rows(tmp_path / "one"), strict=True):
        assert there | {"logprob": None} == here | {"logprob": None}
        assert there["logprob"] == pytest.approx(here["logprob"], abs=1e-4)


def test_replicas_of_an_endpoint_answer_as_one(three: ThreeNodes, tmp_path: Path) -> None:
    with FaultyServer(echo).running() as server:
        asked = ["eval", "--model", "openai:echo", "--base-url", server.url, "--tasks", "easy-vqa", "--limit", "30"]
        many = flab(*asked, "--results", tmp_path / "many", "--ray", three.address, "--replicas", "2")
        one = flab(*asked, "--results", tmp_path / "one")
    assert (many.returncode, one.returncode) == (0, 0), many.stderr
    assert comparable(tmp_path / "many") == comparable(tmp_path / "one")
    assert {run.peak_memory for name in ("many", "one") for run in Store(tmp_path / name).runs()} == {None}


@needs_goldens
def test_replicas_of_a_guided_search_keep_what_each_did(three: ThreeNodes, tmp_path: Path) -> None:
    folders = [word for part, where in PARTS.items() for word in (f"--{part.replace('_', '-')}", str(where))]
    asked = ["eval", "--model", "seal", *folders, "--tasks", "easy-vqa", "--limit", "4", "--dtype", "float32"]
    many = flab(*asked, "--results", tmp_path / "many", "--ray", three.address, "--replicas", "2")
    assert many.returncode == 0, many.stderr
    assert flab(*asked, "--results", tmp_path / "one").returncode == 0
    assert comparable(tmp_path / "many")[:3] == comparable(tmp_path / "one")[:3]
    for there, here in zip(rows(tmp_path / "many"), rows(tmp_path / "one"), strict=True):
        assert (there["sample_id"], there["answer_raw"], there["trace"]) == (
            here["sample_id"],
            here["answer_raw"],
            here["trace"],
        )
        assert there["trace"]


def flab(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flamingo_lab.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_a_killed_replica_costs_nothing_but_time(three: ThreeNodes, caplog: pytest.LogCaptureFixture) -> None:
    model, asked = start(three.address, 2, delay_seconds=0.01), requests(400)
    answers = model.answers(asked)
    found = [next(answers) for _ in range(20)]
    process(model._fleet.ready[0]).kill()
    assert texts(iter([*found, *answers])) == expected(asked)
    assert "replica 0 on" in caplog.text and "others answer its questions" in caplog.text
    assert "its worker process has died" in caplog.text


def process(member: fleet.Member, rank: int = 0) -> psutil.Process:
    """One of a replica's processes."""
    import ray

    return psutil.Process(ray.get(member.seats[rank]).pid)


def questions(count: int) -> list[fl.Request]:
    """For the bundled model."""
    prompts = (fl.Prompt.raw(f"Question: is {number} red? Answer:") for number in range(count))
    return [fl.Request(str(number), prompt, max_new_tokens=2) for number, prompt in enumerate(prompts)]


def test_a_rank_that_dies_costs_its_replica_and_others_answer(
    three: ThreeNodes, caplog: pytest.LogCaptureFixture
) -> None:
    model = driver.start(split, three.address, replicas=2, ranks=2)
    asked = questions(120)
    lost, other = (process(member, 1) for member in model._fleet.ready)
    lost.suspend()  # so that its replica surely has questions left
    answers = model.answers(asked)
    found = [next(answers) for _ in range(20)]
    other.suspend()  # so that the rest is not answered before the loss is heard of
    lost.kill()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(resume_once, other, lambda: "is lost" in caplog.text)
        found += answers
    assert {one.id for one in found} == {one.id for one in asked} and len(found) == len(asked)
    assert not [one.error for one in found if one.error is not None]
    assert re.search("is lost, and others answer its questions: .*(its worker process|connection)", caplog.text)


def test_a_replica_goes_over_several_nodes_where_none_can_hold_it(
    three: ThreeNodes, caplog: pytest.LogCaptureFixture
) -> None:
    """Two nodes of three hold it. One of them falls silent, and the third takes its place."""
    import ray

    told: list[str] = []
    model = driver.start(split, three.address, devices=2, ranks=2, say=told.append)
    assert told[0] == "1 replica with 2 cores over several nodes each on 3 nodes"
    whole = fl.load("flamingo-tiny", device="cpu", dtype="float32")
    expected = {one.id: one.text for one in whole.answers(questions(400))}
    (member,) = model._fleet.ready
    nodes = [seat.node_id for seat in ray.get(list(member.seats))]
    assert len(set(nodes)) == 2
    assert texts(model.answers(questions(40))) == {id: text for id, text in expected.items() if int(id) < 40}
    answers = model.answers(questions(400))
    found = [next(answers) for _ in range(20)]
    with three.silenced(nodes):
        began = time.time()
        assert texts(iter([*found, *answers])) == expected
    (lost,) = [record for record in caplog.records if "is lost, and others answer its questions" in record.message]
    assert lost.message.startswith("replica 0 on") and lost.created - began < 30
    (member,) = model._fleet.ready
    assert member.name != "replica 0"


def test_each_process_of_a_replica_has_a_gpu_of_its_own(three: ThreeNodes) -> None:
    """Pretended ones, and gloo in NCCL's place. On the head and on the other nodes, which have none, nothing is started."""
    import ray

    expected = texts(fl.load("flamingo-tiny", device="cpu", dtype="float32").answers(questions(40)))
    told: list[str] = []
    node = three.add(gpus=2)
    try:
        model = driver.start(on_gpus, three.address, ranks=2, say=told.append)
        assert texts(model.answers(questions(40))) == expected
        (member,) = model._fleet.ready
        assert {seat.node_id for seat in ray.get(list(member.seats))} == {node.node_id}
    finally:
        three.kill(node)
    assert told == ["1 replica with 2 GPUs each on 4 nodes", "1 replica on 2 x cuda in float32"]


def resume_once(process: psutil.Process, is_time: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not is_time() and time.monotonic() < end:
        time.sleep(0.01)
    process.resume()


def test_ranks_that_are_lost_while_they_load_are_tried_again(three: ThreeNodes, tmp_path: Path) -> None:
    losses = tmp_path / "losses"
    losses.write_text("rank 1 was killed\n" * (fleet.LIVES - 1))
    assert texts(start(three.address, 1, losses=losses).answers(requests(3))) == expected(requests(3))
    losses.write_text("rank 1 was killed\n" * fleet.LIVES)
    with pytest.raises(BadCluster, match="3 replicas in a row were lost while they loaded; the last one: rank 1 was"):
        start(three.address, 1, losses=losses)


def test_a_killed_node_is_noticed_and_costs_nothing_but_time(
    three: ThreeNodes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    model, asked = start(three.address, delay_seconds=0.02), requests(600)
    answers = model.answers(asked)
    found = [next(answers) for _ in range(20)]
    three.kill()
    began = time.monotonic()
    for answer in answers:
        found.append(answer)
        if "is lost" in caplog.text:
            break
    assert time.monotonic() - began < 30
    assert texts(iter([*found, *answers])) == expected(asked)
    # The cluster counts its nodes by their heartbeats, later than a connection breaks.
    ask_on(model, lambda: model.state == "2 replicas")
    assert capfd.readouterr().out == ""  # Ray has much to say about it


def test_a_silent_node_costs_nothing_but_time_and_is_noticed_within_30_s(
    three: ThreeNodes, caplog: pytest.LogCaptureFixture
) -> None:
    model, asked = start(three.address, delay_seconds=0.02), requests(300)
    answers = model.answers(asked)
    found = [next(answers) for _ in range(20)]
    with three.silenced():
        began = time.monotonic()
        assert texts(iter([*found, *answers])) == expected(asked)
        ask_on(model, lambda: "is lost" in caplog.text, 30 - (time.monotonic() - began))


STEP = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NODELIST": "gpu[1-4]", "SLURM_PROCID": "3", "SLURM_LOCALID": "0"}
"""What Slurm tells a node of a cluster that is started as a step."""


def test_a_node_that_joins_is_used_whatever_started_it(three: ThreeNodes) -> None:
    three.kill()
    three.settle()
    model, asked = start(three.address, delay_seconds=0.02), requests(400)
    assert model.state == "2 replicas"
    answers = model.answers(asked)
    found = [next(answers) for _ in range(20)]
    three.add(**STEP, RANK="3", WORLD_SIZE="4")
    assert texts(iter([*found, *answers])) == expected(asked)
    ask_on(model, lambda: len(model._fleet.ready) == 3)


def test_questions_that_break_replicas_are_errors_and_the_others_are_answered(three: ThreeNodes) -> None:
    """One raises, one ends the process as the kernel does where memory is short."""
    asked = requests(60, POISON, KILLER)
    found = {one.id: one for one in start(three.address, 3).answers(asked)}
    assert len(found) == 62
    errors = {id: one.error for id, one in found.items() if one.error is not None}
    assert errors.keys() == {POISON, KILLER}
    raised, killed = errors[POISON], errors[KILLER]
    assert raised is not None and raised.kind == "ReplicaLost"
    assert "MemoryError: no room for this picture" in raised.message
    assert killed is not None and "3 replicas" in killed.message


def test_a_killed_driver_goes_on_by_the_same_command(three: ThreeNodes, tmp_path: Path) -> None:
    def begin(delay_seconds: float, log: str) -> subprocess.Popen[bytes]:
        arguments = [three.address, tmp_path / "many", tmp_path / log, delay_seconds, 200]
        return subprocess.Popen([sys.executable, "-m", "tests.scale.replicated_run", *map(str, arguments)], cwd=ROOT)

    def journaled() -> list[str]:
        files = list((tmp_path / "many").glob("runs/*/journal.jsonl"))
        content = files[0].read_bytes() if files else b""
        return [json.loads(line)["id"] for line in content.split(b"\n")[:-1]]

    first = begin(0.05, "first")
    while len(journaled()) < 20:
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    kept = journaled()
    assert 20 <= len(kept) < 200
    assert begin(0, "second").wait() == 0
    assert not set(kept) & set((tmp_path / "second").read_text().split())
    runner.run(scripted(), task.get("shapes-binding"), Settings(num_fewshot=2, limit=200), Store(tmp_path / "one"))
    assert comparable(tmp_path / "many") == comparable(tmp_path / "one")


def test_a_node_with_other_weights_is_refused_by_name(three: ThreeNodes) -> None:
    node = three.add(**{WEIGHTS: "finetuned"})
    try:
        with pytest.raises(BadNode) as refused:
            start(three.address, 4)
    finally:
        three.kill(node)
    assert f"({node.node_id[:8]}) holds other weights" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_node_with_other_versions_that_joins_is_refused_by_name_and_the_run_goes_on(
    three: ThreeNodes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "torch-9.9.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9\n")
    model, asked = start(three.address, delay_seconds=0.02), requests(400)
    answers = model.answers(asked)
    found = [next(answers) for _ in range(20)]
    node = three.add(PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    try:
        assert texts(iter([*found, *answers])) == expected(asked)
        ask_on(model, lambda: f"({node.node_id[:8]}) has torch 9.9, and this machine" in caplog.text)
    finally:
        three.kill(node)


def test_a_refused_node_costs_no_other_and_none_is_replaced_on_it(
    three: ThreeNodes, caplog: pytest.LogCaptureFixture
) -> None:
    model = start(three.address, delay_seconds=0.02)
    node = three.add(**{WEIGHTS: "finetuned"})

    def loses_one() -> None:
        noticed = caplog.text.count("is lost")
        process(model._fleet.ready[0]).kill()
        ask_on(model, lambda: caplog.text.count("is lost") > noticed)
        ask_on(model, lambda: model.state == "3 replicas")

    try:
        ask_on(model, lambda: "holds other weights" in caplog.text)
        loses_one()
    finally:
        three.kill(node)
    three.settle()
    time.sleep(fleet.MEND_SECONDS)
    loses_one()
    assert caplog.text.count("holds other weights") == 1


def another_picture(file: Path) -> None:
    pil.new("RGB", (4, 4), (9, 9, 8)).save(file)


@pytest.mark.parametrize("there", [Path.unlink, another_picture])
def test_a_node_without_the_data_is_refused_by_name(
    there: Callable[[Path], None], three: ThreeNodes, tmp_path: Path
) -> None:
    file = tmp_path / "picture.png"
    pil.new("RGB", (4, 4), (9, 9, 9)).save(file)
    picture = fl.Image(file)
    request = fl.Request("one", fl.Prompt.ask(picture, "say nothing"))
    assert picture.digest  # the driver has seen it
    there(file)
    with pytest.raises(BadCluster, match=r"no replica is left \(node .*/picture\.png.*\); the same command goes on"):
        list(start(three.address, 1).answers([request]))


def test_more_replicas_than_have_room_are_refused(three: ThreeNodes) -> None:
    with pytest.raises(
        BadSetting, match="--replicas 9 with 1 core each: the cluster has 3 cores on 3 nodes, room for 3"
    ):
        start(three.address, 9)


def test_a_cluster_that_others_use_is_told(three: ThreeNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    first = start(three.address, 3)
    with monkeypatch.context() as impatient:
        impatient.setattr(fleet, "PATIENCE_SECONDS", 1.0)
        with pytest.raises(BadCluster, match="no node has had room for a replica for 1 s"):
            start(three.address, 1)
    first.close()
    assert texts(start(three.address, 3).answers(requests(3))) == expected(requests(3))


def test_what_a_replica_cannot_load_is_told_in_one_line(three: ThreeNodes) -> None:
    ended = flab("eval", "--model", "openai:any", "--tasks", "easy-vqa", "--ray", three.address, "--replicas", "1")
    assert ended.returncode == 2
    laid_out, line = [line for line in ended.stderr.splitlines() if line]
    assert laid_out == "1 replica with 1 core each on 3 nodes"
    assert line.startswith("error: node ") and "--base-url" in line
