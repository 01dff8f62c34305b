"""A real endpoint: `transformers serve` with a tiny model, which has to answer as the same model does in memory."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import flamingo_lab as fl
from flamingo_lab.backends.openai import EndpointModel
from flamingo_lab.cli import run
from flamingo_lab.errors import BadEndpoint, BadSetting

START_SECONDS = 120

SERVE = "from transformers.cli.transformers import main; main()"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def folder(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose folder wants neither temperature nor penalty, which the server would follow."""
    copied = shutil.copytree(folders["idefics3"], tmp_path_factory.mktemp("served") / "model")
    (copied / "generation_config.json").write_text(json.dumps({"eos_token_id": [2], "pad_token_id": 0}))
    return copied


@pytest.fixture(scope="module")
def url(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    log = tmp_path_factory.mktemp("log") / "serve.txt"
    where = ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu", "--dtype", "float32"]
    outside = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with log.open("w") as stream:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, "serve", str(folder), *where], stdout=stream, stderr=stream, env=outside
        )
    try:
        wait(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


def wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"the server did not start: {log.read_text()[-2000:]}")


def prompts(pictures: list[fl.Image]) -> list[fl.Prompt]:
    wide, tall, square, small = pictures
    shots = [fl.Shot(tall, "what is it?", answer="a tower"), fl.Shot(small, "and this?", answer="a dot on it")]
    return [
        fl.Prompt.ask(wide, "what is in the picture?"),
        fl.Prompt.ask(square, "what?", shots=shots),
        fl.Prompt.ask(small, tall, "which of the two is taller?"),
        fl.Prompt.ask("what is the number of the house?"),
        fl.Prompt.ask(tall, "in", system="answer in a word"),
        fl.Prompt.ask("see", wide, "and", square, "then say"),
    ]


def test_the_answers_are_those_of_the_same_model_in_memory(url: str, folder: Path, pictures: list[fl.Image]) -> None:
    served = fl.load(f"openai:{folder}", base_url=url)
    local = fl.load(f"hf:{folder}", device="cpu", dtype="float32")
    requests = [
        fl.Request(f"q{n}-{new}", prompt, max_new_tokens=new)
        for n, prompt in enumerate(prompts(pictures))
        for new in (3, 9, 14, 20)
    ]
    remote = {answer.id: answer for answer in served.answers(requests)}
    here = {answer.id: answer for answer in local.answers(requests)}
    assert len(remote) == len(requests) == 24
    for name, answer in here.items():
        assert remote[name].error is None
        assert remote[name].text == answer.text
        assert remote[name].prompt_tokens == answer.prompt_tokens
        assert remote[name].new_tokens == answer.new_tokens
        assert remote[name].images == answer.images
    assert len({answer.text for answer in remote.values()}) > 6


def test_stop_texts_are_cut_though_the_server_cannot(url: str, folder: Path, pictures: list[fl.Image]) -> None:
    served = fl.load(f"openai:{folder}", base_url=url)
    prompt = prompts(pictures)[0]
    whole = served.generate(prompt, max_new_tokens=20).text
    stop = whole[len(whole) // 2]
    cut = served.generate(prompt, max_new_tokens=20, stop=[stop])
    assert (cut.text, cut.stopped_by) == (whole[: whole.index(stop)], "stop text")


def test_options_cannot_be_ranked(url: str, folder: Path, pictures: list[fl.Image]) -> None:
    served = fl.load(f"openai:{folder}", base_url=url)
    assert isinstance(served, EndpointModel)
    with pytest.raises(BadSetting, match="tells no log-probabilities"):
        served.sent(fl.Request("q", prompts(pictures)[0], fl.Rank(("a", "b"))))


def test_another_model_than_the_served_one(url: str) -> None:
    with pytest.raises(BadEndpoint, match="asked of 'other': HTTP 400: Server is pinned to"):
        fl.load("openai:other", base_url=url)


def test_a_run_by_the_command_line(
    url: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    more = ["--tasks", "easy-vqa", "--limit", "10", "--num-fewshot", "2", "--json"]
    assert run(["eval", "--model", f"openai:{folder}", "--base-url", url, "--concurrency", "8", *more]) == 0
    assert run(["eval", "--model", f"hf:{folder}", "--dtype", "float32", *more]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["model"] for row in rows} == {f"openai:{folder}", "hf:model"}
    assert {row["n_errors"] for row in rows} == {0}
    journals = [
        {line["id"]: line["text"] for line in map(json.loads, journal.read_text().splitlines())}
        for journal in tmp_path.glob("results/runs/*/journal.jsonl")
    ]
    assert len(journals) == 2 and journals[0] == journals[1] and len(journals[0]) == 10
