"""Answers that depend on their company are named, with how close the choice was."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

import flamingo_lab as fl
from flamingo_lab.bench.flips import flips, parted
from flamingo_lab.engine import loop, reference
from flamingo_lab.engine.kv import Slots
from flamingo_lab.engine.passes import Layout, Passes, Row
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


def test_prompts_and_answers_have_none_few_and_all_beside_them(
    model: fl.LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: dict[str, list[int]] = {"prompts": [], "steps": []}
    ends, step = Passes.ends, Layout.step

    def of_prompts(self: Passes, held: Sequence[Row], *told: Any) -> Any:
        rows["prompts"].append(len(held))
        return ends(self, held, *told)

    def of_step(self: Layout, passes: Passes, slots: Slots, tokens: Sequence[int], *told: Any) -> Tensor:
        rows["steps"].append(len(tokens))
        return step(self, passes, slots, tokens, *told)

    monkeypatch.setattr(Passes, "ends", of_prompts)
    monkeypatch.setattr(Layout, "step", of_step)
    flips(model, asked(fl.Greedy(), 12, min_new_tokens=2, max_new_tokens=2))
    for held in rows.values():
        assert held[:12] == [1] * 12
        assert max(held) == 12 and 8 in held


def test_the_first_other_token_and_its_margin(model: fl.LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = asked(fl.Greedy(), 3, min_new_tokens=8)

    class Changed(loop.Engine):
        def answers(self, requests: Iterable[fl.Request]) -> Iterator[fl.Answer]:
            asked = list(requests)
            for answer in super().answers(asked):
                if answer.id == "1" and len(asked) > 1:
                    yield replace(answer, text="other", token_ids=(*answer.token_ids[:2], 5, *answer.token_ids[3:]))
                else:
                    yield answer

    monkeypatch.setattr(loop, "Engine", Changed)
    (flip,) = flips(model, requests)
    assert (flip.id, flip.step) == ("1", 2)
    assert flip.texts.keys() == {"1", "3"}
    assert flip.texts["3"] == "other" != flip.texts["1"]
    ready = job(model, requests[1])
    first = reference.answer(model, requests[1]).token_ids[:2]
    logits = reference.logits(model, reference.extended(ready.sequence, first), reference.picture_tokens(model, ready))
    right = reference.answer(model, requests[1]).token_ids[2]
    assert flip.margin == pytest.approx(float(logits[-1][right] - logits[-1][5]), abs=1e-5)


def test_an_answer_that_ended_where_the_other_went_on(model: fl.LoadedModel) -> None:
    (request,) = asked(fl.Greedy(), 1, min_new_tokens=4)
    ready, ids = job(model, request), reference.answer(model, request).token_ids
    step, margin = parted(model, request, ids, ids[:2])
    logits = reference.logits(
        model, reference.extended(ready.sequence, ids[:2]), reference.picture_tokens(model, ready)
    )
    ends = max(float(logits[-1][one]) for one in ready.ends.stop_ids)
    assert step == 2
    assert margin == pytest.approx(abs(float(logits[-1][ids[2]]) - ends), abs=1e-5)


def test_options_part_by_their_scores(model: fl.LoadedModel) -> None:
    (request,) = asked(fl.Rank(("yes", "no", "maybe not")), 1)
    one, _, other = (option.ids for option in job(model, request).options)
    scores = reference.answer(model, request).option_logprobs or ()
    assert parted(model, request, one, other) == (0, pytest.approx(abs(scores[0] - scores[2])))
