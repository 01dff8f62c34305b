"""Answers that depend on their company are named, with how close the choice was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

import flamingo_lab as fl
from flamingo_lab.bench import flips as module
from flamingo_lab.bench.flips import flips
from flamingo_lab.engine import loop, reference
from flamingo_lab.engine.plan import job
from tests.bench.asked import asked
from tests.families.tiny_idefics import write_checkpoint


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("idefics")
    write_checkpoint(folder, {}, seed=2)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> fl.LoadedModel:
    model = fl.load(folder, dtype="float32")
    assert isinstance(model, fl.LoadedModel)
    return model


@pytest.mark.parametrize("decoding", [fl.Greedy(), fl.Rank(("yes", "no"))], ids=["greedy", "rank"])
def test_in_float32_none_does(model: fl.LoadedModel, decoding: fl.Decoding) -> None:
    assert flips(model, asked(decoding)) == []


def test_the_first_other_token_and_its_margin(model: fl.LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = asked(fl.Greedy(), 3, min_new_tokens=8)

    def changed(model: fl.LoadedModel, requests: Sequence[fl.Request], budget: int | None) -> Iterator[fl.Answer]:
        for answer in loop.answers(model, requests, budget):
            if answer.id == "1" and budget is None:
                yield replace(answer, text="other", token_ids=(*answer.token_ids[:2], 5, *answer.token_ids[3:]))
            else:
                yield answer

    monkeypatch.setattr(module, "loop", type("Loop", (), {"answers": staticmethod(changed)}))
    (flip,) = flips(model, requests)
    assert (flip.id, flip.step) == ("1", 2)
    assert flip.texts["best"] == "other"
    assert flip.texts["1"] == flip.texts["1024"] != "other"
    ready = job(model, requests[1])
    first = reference.answer(model, requests[1]).token_ids[:2]
    logits = reference.logits(model, reference.extended(ready.sequence, first), reference.picture_tokens(model, ready))
    best = logits[-1].topk(2).values
    assert flip.margin == pytest.approx(float(best[0] - best[1]), abs=1e-5)
