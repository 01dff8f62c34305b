"""What bfloat16 changes against float32: how far logits move, and how many answers of easy-VQA are others."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch

import flamingo_lab as fl
from eval_tasks import task
from eval_tasks.plan import Settings, plan
from flamingo_lab.engine import reference
from flamingo_lab.engine.plan import job
from flamingo_lab.nn import linear

QUESTIONS = 200

OF_THE_SPREAD = 0.2
"""The largest change of a logit allowed, over the standard deviation of the prompt's logits; bfloat16 keeps 8 bits."""

CHANGED = 0.01
"""Share of answers that may be others."""


@cache
def model(dtype: str) -> fl.LoadedModel:
    loaded = fl.load("flamingo-tiny", dtype=dtype)
    assert isinstance(loaded, fl.LoadedModel)
    return loaded


def asked(shots: int, count: int) -> list[fl.Request]:
    settings = Settings(num_fewshot=shots, limit=count)
    return [one.request for one in plan(model("float32"), task.get("easy-vqa"), settings).asked]


@pytest.mark.parametrize("shots", [0, 4])
def test_logits_move_little(shots: int) -> None:
    moved: list[float] = []
    for request in asked(shots, 6):
        rows = []
        for dtype in ("float32", "bfloat16"):
            ready = job(model(dtype), request)
            rows.append(reference.logits(model(dtype), ready.sequence, reference.picture_tokens(model(dtype), ready)))
        moved.append(float((rows[0] - rows[1]).abs().max() / rows[0].std()))
    assert 0 < max(moved) < OF_THE_SPREAD


@pytest.mark.parametrize("shots", [0, 4])
def test_few_answers_are_others(shots: int, record_property: Callable[[str, object], None]) -> None:
    requests = asked(shots, QUESTIONS)
    texts = [{answer.id: answer.text for answer in model(dtype).answers(requests)} for dtype in ("float32", "bfloat16")]
    changed = sum(texts[0][name] != texts[1][name] for name in texts[0]) / QUESTIONS
    record_property("share of changed answers", changed)
    assert changed <= CHANGED


@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bfloat16 in oneDNN")
def test_packed_weights_answer_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = asked(4, 40)
    found: list[dict[str, str]] = []
    for is_packed in (False, True):
        monkeypatch.setattr(linear, "is_onednn_ahead", lambda is_packed=is_packed: is_packed)
        loaded = fl.load("flamingo-tiny", dtype="bfloat16")
        assert isinstance(loaded, fl.LoadedModel)
        packed = {name.partition(".")[0] for name, one in loaded.vlm.named_parameters() if one.is_mkldnn}
        assert packed == ({"decoder", "join"} if is_packed else set())
        assert not loaded.weight("decoder.layers.0.mlp.up.weight").is_mkldnn
        found.append({answer.id: answer.text for answer in loaded.answers(requests)})
    assert sum(found[0][name] != found[1][name] for name in found[0]) <= 1
    wide = fl.load("flamingo-tiny", dtype="float32")
    assert isinstance(wide, fl.LoadedModel) and not any(one.is_mkldnn for one in wide.vlm.parameters())
