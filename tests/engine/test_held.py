"""What the engine reads ahead and holds at once, and what it does where there is room for little."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as pil

import flamingo_lab as fl
from flamingo_lab.engine import loop, reference
from flamingo_lab.engine.budget import Budget, Room
from flamingo_lab.engine.images import PictureStore
from flamingo_lab.engine.kv import Level
from flamingo_lab.engine.work import Work
from flamingo_lab.pixels import Pipeline
from tests.families.tiny_idefics import write_checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> fl.LoadedModel:
    """Tokens look at pictures across, so that those of running sequences have to stay."""
    path = tmp_path_factory.mktemp("idefics")
    write_checkpoint(path, {}, seed=5)
    return fl.load(path, dtype="float32", device="cpu")


@dataclasses.dataclass(frozen=True)
class Told(Room):
    """A budget with these of its numbers."""

    numbers: dict[str, int] = dataclasses.field(default_factory=dict[str, int])

    def budget(self, model: fl.LoadedModel) -> Budget:
        return dataclasses.replace(super().budget(model), **self.numbers)


def within(model: fl.LoadedModel, **numbers: int) -> fl.LoadedModel:
    return dataclasses.replace(model, room=Told(numbers=numbers))


def picture(seed: int) -> fl.Image:
    return fl.Image(pil.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)))


class Counting:
    """A pipeline that counts its pictures."""

    def __init__(self, pipeline: Pipeline | Callable[[pil.Image], NDArray[np.float32]]) -> None:
        self._pipeline = pipeline
        self.pictures = 0

    def __call__(self, image: pil.Image) -> NDArray[np.float32]:
        self.pictures += 1
        return self._pipeline(image)

    def __repr__(self) -> str:
        return repr(self._pipeline)


def counting(model: fl.LoadedModel, **changed: Any) -> tuple[fl.LoadedModel, Counting]:
    pipeline = Counting(model.pipeline)
    return dataclasses.replace(model, pipeline=pipeline, **changed), pipeline


def told(answers: Sequence[fl.Answer]) -> dict[str, tuple[int, ...]]:
    assert all(answer.error is None for answer in answers)
    return {answer.id: answer.token_ids for answer in answers}


@pytest.mark.parametrize("pass_tokens", [None, 100])
def test_a_picture_is_prepared_once_and_not_at_all_where_its_features_are_kept(
    model: fl.LoadedModel, tmp_path: Path, pass_tokens: int | None
) -> None:
    asked = [fl.Request(str(n), fl.Prompt.raw(picture(n), "what"), max_new_tokens=2) for n in range(150)]
    answers: list[dict[str, tuple[int, ...]]] = []
    for pictures in (150, 0):
        one, pipeline = counting(model, room=Room(features=tmp_path))
        answers.append(told(list(loop.answers(one, asked, pass_tokens))))
        assert pipeline.pictures == pictures
    assert answers[0] == answers[1]


def test_few_pictures_are_read_ahead_where_few_are_encoded_together(model: fl.LoadedModel) -> None:
    one, pipeline = counting(model)
    store = PictureStore(one, Work(), 1 << 30, views=1)
    pictures = [picture(n) for n in range(40)]
    store.read_ahead(pictures)
    store.bring(pictures[:1])
    assert pipeline.pictures <= 3
    store.bring(pictures)
    assert pipeline.pictures == 40
    store.close()


def held_at_most(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens' keys and values levels hold, one number each time that a level is made."""
    live: list[weakref.ref[Level]] = []
    counts: list[int] = []
    made = Level.__init__

    def noting(level: Level, *given: Any) -> None:
        made(level, *given)
        live.append(weakref.ref(level))
        counts.append(sum(one.tokens for ref in live if (one := ref()) is not None))

    monkeypatch.setattr(Level, "__init__", noting)
    return counts


DECODINGS = (fl.Greedy(), fl.Beam(3), fl.Rank(("yes", "no, never")))


@pytest.mark.parametrize("decoding", DECODINGS, ids=lambda decoding: type(decoding).__name__)
def test_beginnings_and_prompts_of_beams_stay_within_the_budget(
    model: fl.LoadedModel, monkeypatch: pytest.MonkeyPatch, decoding: fl.Decoding
) -> None:
    asked = [
        fl.Request(f"{context} {question}", fl.Prompt.raw(f"{context:03d}" * 35 + f"q{question}?"), decoding, 2)
        for context in range(40)
        for question in range(2)
    ]
    expected = told([reference.answer(model, one) for one in asked[:6]])
    counts = held_at_most(monkeypatch)
    found = told(list(within(model, kv_tokens=600).answers(asked)))
    assert expected.items() <= found.items()
    assert 100 < max(counts) <= 600


def test_pictures_of_running_sequences_stay(model: fl.LoadedModel) -> None:
    asked = [
        fl.Request(str(n), fl.Prompt.raw(picture(n), "what is it " + "x" * (n % 5)), max_new_tokens=2 + n % 7)
        for n in range(24)
    ]
    asked = [dataclasses.replace(one, min_new_tokens=one.max_new_tokens) for one in asked]
    expected = told([reference.answer(model, one) for one in asked])
    for picture_bytes in (1, 20_000, 60_000):
        one = within(model, picture_bytes=picture_bytes, rows=8)
        before = model.work.counters()
        assert told(list(loop.answers(one, asked, 100))) == expected
        spent = {name: value - before[name] for name, value in model.work.counters().items()}
        assert spent["images_encoded"] == 24
        assert spent["prompt_tokens_computed"] == spent["prompt_tokens_asked"]


def test_questions_that_always_lack_memory_fail_alone(model: fl.LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on in the same company, and those that are read later are not refused."""
    embed = type(model.vlm).embed
    bad = model.tokenizer.encode("zzz")[-3:]

    def lacks(vlm: object, ids: torch.Tensor, *rest: object) -> torch.Tensor:
        if any(bad == row[first : first + 3] for row in ids.tolist() for first in range(len(row))):
            raise torch.OutOfMemoryError("not enough memory")
        return embed(vlm, ids, *rest)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(type(model.vlm), "embed", lacks)
    monkeypatch.setattr(loop, "WINDOW", 16)
    asked = [fl.Request(str(n), fl.Prompt.raw("zzz" if n in (1, 5, 6) else f"a question {n}" * 3)) for n in range(48)]
    asked = [dataclasses.replace(one, max_new_tokens=4) for one in asked]
    engine = loop.Engine(model, Told(numbers={"kv_tokens": 400}))
    before = model.work.halved_budgets
    found = list(engine.answers(asked))
    engine.close()
    assert sorted(answer.id for answer in found) == sorted(one.id for one in asked)
    assert {answer.id for answer in found if answer.error} == {"1", "5", "6"}
    assert 1 <= model.work.halved_budgets - before <= 3


def test_a_long_prompt_takes_no_short_ones_along(model: fl.LoadedModel) -> None:
    """Only until there are tokens enough for a pass: more of them would be padding."""
    asked = [fl.Request(str(n), fl.Prompt.raw(f"{n:03d}" * (60 if n < 8 else 2)), max_new_tokens=2) for n in range(64)]
    shares: list[float] = []
    for enough in (200, 1 << 20):
        before = model.work.counters()
        list(within(model, enough_tokens=enough).answers(asked))
        spent = {name: value - before[name] for name, value in model.work.counters().items()}
        shares.append(spent["positions_padding"] / spent["positions_fed"])
    assert shares[0] < 0.1 < 0.5 < shares[1]
