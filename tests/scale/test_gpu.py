"""What is written for GPUs, on one that is pretended: no operation mixes devices, and answers are those of the CPU."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as pil
from torch.nn import functional as F

import flamingo_lab as fl
from flamingo_lab.cli import run
from flamingo_lab.engine import reference
from flamingo_lab.engine.budget import FREE_SHARE, GIB, Room
from flamingo_lab.errors import BadSetting
from flamingo_lab.nn import attention
from flamingo_lab.parallel import reading
from flamingo_lab.quant import FORMS, copy
from flamingo_lab.understanding import understand
from leaderboards.store import Store
from tests.families.goldens import Case, Golden, found
from tests.families.test_goldens import request
from tests.folders import GOLDENS
from tests.pretended_gpu import MOST_BYTES, pretended
from tests.scale import pair

FOUND = found(GOLDENS, "model")
WORDS = ("circle", "square", "triangle")


def assert_equal(ours: dict[str, Any], expected: dict[str, Any]) -> None:
    """Up to the order of sums, also where a random model's log-probabilities are in the thousands."""
    near = {
        name: one if one["logprob"] is None else one | {"logprob": pytest.approx(one["logprob"], rel=1e-5, abs=1e-4)}
        for name, one in expected.items()
    }
    assert ours == near


def asked(golden: Golden) -> Case:
    """The first case that generates, with the checkpoint's own settings."""
    return next(case for case in golden.cases.values() if case.runs and not golden._changes(case))


@pytest.fixture
def gpu() -> Iterator[None]:
    with pretended():
        yield


@pytest.fixture(scope="module")
def questions() -> list[fl.Request]:
    """Every way of decoding, over shared and other pictures."""
    pictures = [fl.Image(pil.new("RGB", (64, 48), (40 * n, 10, 200))) for n in range(3)]
    prompts = [fl.Prompt.ask(picture, "Which shape is it?") for picture in pictures]
    shots = fl.Prompt.raw(
        pictures[0], "Question: which shape? Answer: circle\n\n", pictures[1], "Question: which shape? Answer:"
    )
    plain = [fl.Request(str(n), prompt, max_new_tokens=4) for n, prompt in enumerate([*prompts, shots])]
    return [
        *plain,
        replace(plain[0], id="beams", decoding=fl.Beam(3)),
        replace(plain[1], id="sampled", decoding=fl.Sample(0.7, 0.9)),
        replace(plain[2], id="at least", min_new_tokens=3),
        replace(plain[3], id="ranked", decoding=fl.Rank(WORDS)),
        replace(plain[3], id="forbidden", forbidden=("circle",)),
        fl.Request("broken", fl.Prompt.raw(fl.Image("no-such.png"), "what is it?")),
    ]


@pytest.fixture(scope="module")
def expected(questions: list[fl.Request]) -> dict[str, Any]:
    return pair.answered(tiny("cpu"), questions)


def tiny(device: str, **more: Any) -> fl.LoadedModel:
    model = fl.load("flamingo-tiny", device=device, dtype="float32", **more)
    assert isinstance(model, fl.LoadedModel)
    return model


@pytest.mark.usefixtures("gpu")
def test_a_pretended_gpu_refuses_what_a_gpu_refuses() -> None:
    here, there = torch.ones(3, 4), torch.ones(3, 4, device="cuda")
    assert (there * 2 + torch.tensor(1.0))[torch.tensor([0, 2])].sum().item() == 24
    for mixed in (
        lambda: here + there,
        lambda: here[torch.tensor([0], device="cuda")],
        lambda: torch.cat([there, here]),
        lambda: F.linear(there, here),
        lambda: F.scaled_dot_product_attention(*(one[None, None] for one in (there, there, here))),
    ):
        with pytest.raises(RuntimeError, match=r"two devices|cuda devices"):
            mixed()
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    with pytest.raises(NotImplementedError, match="for_cpu"):
        attention._FUSED(*(one[None, None] for one in (there, there, there)))
    copy_here, copy_there = there.cpu(), here.to(there.device)
    copy_here[0, 0] = copy_there[0, 0] = 7
    assert here.sum() == there.sum().item() == 12


@pytest.mark.skipif(not FOUND, reason=f"no goldens under FLAB_GOLDENS ({GOLDENS})")
@pytest.mark.parametrize("golden", FOUND, ids=[golden.folder.name for golden in FOUND])
def test_every_family_answers_on_a_gpu_as_on_the_cpu(golden: Golden) -> None:
    case = asked(golden)
    requests = [
        request(case, row, dict(settings), f"{run}/{number}")
        for run, settings in case.runs.items()
        for number, row in enumerate(case.rows)
    ]
    on_cpu = pair.answered(pair.load(golden, case.name), requests)
    with pretended():
        model = pair.load(golden, case.name, device="cuda")
        assert {one.device for one in model.vlm.parameters()} == {torch.device("cuda", 0)}
        assert_equal(pair.answered(model, requests), on_cpu)
        (first, *_) = requests
        assert_equal({first.id: pair.plain(reference.answer(model, first))}, {first.id: on_cpu[first.id]})


@pytest.mark.usefixtures("gpu")
def test_every_decoding_on_a_gpu(questions: list[fl.Request], expected: dict[str, Any]) -> None:
    assert_equal(pair.answered(tiny("cuda"), questions), expected)


@pytest.mark.usefixtures("gpu")
def test_a_session_on_a_gpu_keeps_what_it_has(questions: list[fl.Request], expected: dict[str, Any]) -> None:
    session = tiny("cuda").session()
    answers = [*session.answers(questions[:4]), *session.answers(questions[4:])]
    assert_equal({one.id: pair.plain(one) for one in answers}, expected)


@pytest.mark.usefixtures("gpu")
def test_features_of_a_gpu_are_kept_and_embedded(
    questions: list[fl.Request], expected: dict[str, Any], tmp_path: Path
) -> None:
    model = tiny("cuda", features=tmp_path)
    for _ in range(2):
        assert_equal(pair.answered(model, questions), expected)
    assert model.counters()["images_from_cache"] > 0
    pictures = questions[0].prompt.images
    assert np.abs(model.embed(pictures) - tiny("cpu").embed(pictures)).max() < 1e-6


@pytest.mark.usefixtures("gpu")
def test_weights_are_streamed_to_a_gpu(questions: list[fl.Request], expected: dict[str, Any]) -> None:
    assert_equal(pair.answered(tiny("cuda", offload=True), questions), expected)


@pytest.mark.usefixtures("gpu")
def test_what_torch_keeps_of_a_gpu_is_free() -> None:
    """Otherwise the second task of a command would have the rest alone."""
    model = tiny("cuda")
    assert Room().bytes_for(model.vlm.device) == int(FREE_SHARE * 80 * GIB)
    assert Room().budget(model) == Room(memory_bytes=int(FREE_SHARE * 80 * GIB)).budget(model)


@pytest.mark.usefixtures("gpu")
def test_a_free_choice_takes_the_gpu() -> None:
    model = fl.load("flamingo-tiny")
    assert (model.about["device"], model.about["dtype"]) == ("cuda:0", "bfloat16")
    answer = model.answer(fl.Image(pil.new("RGB", (30, 20), (200, 30, 90))), "what is it?", max_new_tokens=4)
    assert answer.error is None and answer.token_ids


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_quantised_weights_on_a_gpu_mean_the_same(form: str, dtype: str, tmp_path: Path) -> None:
    """Through torchao's tensors, freshly quantised and from a copy; a float32 prompt passes its int4 kernel in bfloat16."""
    pytest.importorskip("torchao")
    picture = fl.Image(pil.new("RGB", (64, 48), (40, 10, 200)))
    asked = [fl.Request("one", fl.Prompt.ask(picture, "Which shape is it?"), fl.Rank(("yes", "no")))]
    copy.write(understand("flamingo-tiny"), form, tmp_path / "copy")
    (expected,) = fl.load("flamingo-tiny", device="cpu", dtype=dtype, quant=form).answers(asked)
    with pretended():
        for path, given in (("flamingo-tiny", form), (tmp_path / "copy", None)):
            model = fl.load(path, device="cuda", dtype=dtype, quant=given)
            assert model.about["quantisation"] == form
            (found,) = model.answers(asked)
            assert found.option_logprobs == pytest.approx(expected.option_logprobs, abs=0.02)


def test_processes_that_have_the_same_gpu_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where torchrun starts two on a machine with one."""
    model = tiny("cpu")
    prepared: Any = SimpleNamespace(dtype=torch.float32, unread=model)

    class Two:
        """This process and another one, which says the same."""

        def exchange(self, value: Any) -> list[Any]:
            return [value, value]

    ranks: Any = Two()
    with pretended():
        host = socket.gethostname()
        with pytest.raises(BadSetting, match=f"ranks 0 and 1 on {host} have the same GPU; start them with one each"):
            reading._compared(ranks, prepared, torch.device("cuda", 0))
    assert reading._compared(ranks, prepared, torch.device("cpu")) == [host, host]


@pytest.mark.usefixtures("gpu")
def test_the_command_line_takes_the_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["eval", "--model", "flamingo-tiny", "--tasks", "easy-vqa", "--num-fewshot", "2", "--limit", "20"]
    assert run([*command, "--results", str(tmp_path), "--dtype", "float32"]) == 0
    (there,) = Store(tmp_path).runs()
    assert (there.status, there.hardware["device"], there.hardware["gpu"]) == ("complete", "cuda:0", "pretended")
    assert there.peak_memory == MOST_BYTES
    assert capsys.readouterr().out
