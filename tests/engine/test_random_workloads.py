"""The engine's answers are the reference's on random workloads, for every family of which there is a golden."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as pil

import flamingo_lab as fl
from flamingo_lab.engine import loop, reference
from flamingo_lab.engine.budget import Room
from flamingo_lab.engine.plan import job
from tests.families.goldens import Golden, found
from tests.families.tiny_idefics import write_checkpoint
from tests.folders import GOLDENS

CLOSE = 1e-4
"""Between two tokens, or two scores, that may stand in either order."""

FAMILIES = [golden for golden in found(GOLDENS) if not golden.folder.name.startswith("seal_vsm")]

OPTIONS = ("yes", "no, it is not", "a red car", "x")

DECODINGS: Sequence[fl.Decoding] = (
    fl.Greedy(),
    fl.Sample(temperature=1.5, top_p=0.9, seed=3),
    fl.Beam(3),
    fl.Beam(2, length_penalty=0.0, counts="new"),
    fl.Rank(OPTIONS),
    fl.Rank(OPTIONS[:2], normalise="mean"),
)

WORDS = ("what", "colour", "is", "the", "thing", "beside", "a", "red", "square", "of", "two", "birds", "near", "water")


def picture(seed: int) -> fl.Image:
    random_numbers = np.random.default_rng(seed)
    width, height = (int(n) for n in random_numbers.integers(20, 90, size=2))
    return fl.Image(pil.fromarray(random_numbers.integers(0, 256, (height, width, 3), dtype=np.uint8)))


PICTURES = [picture(seed) for seed in range(5)]


def can_be_asked(model: fl.LoadedModel, prompt: fl.Prompt) -> bool:
    try:
        job(model, fl.Request("trial", prompt))
    except fl.LabError:
        return False
    return True


def requests(model: fl.LoadedModel, seed: int, count: int) -> Iterator[fl.Request]:
    """Mixed lengths and decodings; 0 to 8 shots, the same for some and others for others; pictures that come again."""
    draw = random.Random(seed)
    takes_one = not can_be_asked(model, fl.Prompt.ask(*PICTURES[:2], "what?"))

    def shot(number: int) -> fl.Shot:
        own = random.Random(number)
        question = " ".join(own.choices(WORDS, k=own.randint(1, 9)))
        return fl.Shot(*([] if takes_one else [own.choice(PICTURES)]), question, answer=own.choice(OPTIONS[:3]))

    fixed = [shot(number) for number in range(2)]
    for number in range(count):
        shots = fixed if draw.random() < 0.6 else [shot(draw.randrange(9)) for _ in range(draw.randint(0, 8))]
        question = " ".join(draw.choices(WORDS, k=draw.randint(1, 8)))
        pictures = draw.sample(PICTURES, 1 if takes_one else draw.choice((1, 1, 1, 2)))
        prompt = fl.Prompt.ask(*pictures, question, shots=shots)
        while shots and draw.random() < 0.9 and not can_be_asked(model, prompt):  # few stay too long, and are refused
            shots = shots[:-1]
            prompt = fl.Prompt.ask(*pictures, question, shots=shots)
        decoding = draw.choice(DECODINGS)
        yield fl.Request(str(number), prompt, decoding, max_new_tokens=draw.randint(1, 5))


def margin(model: fl.LoadedModel, request: fl.Request, ids: Sequence[int]) -> float:
    """Between the reference's two likeliest tokens behind these new ones."""
    ready = job(model, request)
    sequence = reference.extended(ready.sequence, tuple(ids))
    logits = reference.logits(model, sequence, reference.picture_tokens(model, ready), model.noise(request.id))[-1]
    best = logits.log_softmax(-1).topk(2).values
    return float(best[0] - best[1])


def in_float64(model: fl.LoadedModel, request: fl.Request) -> tuple[fl.Answer, fl.Answer]:
    """Both answers in float64: a score of minus hundreds has few of float32's digits behind the point."""
    wide = dataclasses.replace(model, vlm=copy.deepcopy(model.vlm).double())
    return next(iter(loop.answers(wide, [request]))), reference.answer(wide, request)


def compare(model: fl.LoadedModel, request: fl.Request, ours: fl.Answer, expected: fl.Answer) -> str:
    """Assert that both are equal, as far as they can be; what they are."""
    if expected.error is not None:
        assert ours.error is not None
        assert (ours.error.kind, ours.error.message) == (expected.error.kind, expected.error.message)
        return "refused by both"
    assert ours.error is None, ours.error
    assert (ours.prompt_tokens, ours.images) == (expected.prompt_tokens, expected.images)
    if ours.option_logprobs is not None:
        if ours.option_logprobs != pytest.approx(expected.option_logprobs, abs=CLOSE):
            ours, expected = in_float64(model, request)
        assert ours.option_logprobs == pytest.approx(expected.option_logprobs, abs=CLOSE)
    if ours.token_ids == expected.token_ids:
        assert ours.logprob == pytest.approx(expected.logprob, abs=CLOSE)
        assert (ours.text, ours.stopped_by) == (expected.text, expected.stopped_by)
        return "equal"
    if isinstance(request.decoding, fl.Greedy):
        step = next(n for n, (a, b) in enumerate(zip(ours.token_ids, expected.token_ids, strict=False)) if a != b)
        assert margin(model, request, expected.token_ids[:step]) < CLOSE
    else:
        assert not isinstance(request.decoding, fl.Sample)
        assert ours.logprob == pytest.approx(expected.logprob, abs=CLOSE)
    return "tied"


def check(model: fl.LoadedModel, seed: int, tokens: int | None, room: Room) -> Counter[str]:
    asked = list(requests(model, seed, 14))
    told = dataclasses.replace(model, room=room)
    found = {answer.id: answer for answer in loop.answers(told, asked, tokens)}
    assert sorted(found) == sorted(request.id for request in asked)
    return Counter(compare(model, one, found[one.id], reference.answer(model, one)) for one in asked)


WORKLOADS = given(seed=st.integers(0, 10_000), tokens=st.sampled_from([1, 120, 600, None]))
SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
FEW = settings(max_examples=2, deadline=None, derandomize=True, suppress_health_check=SLOW)


@pytest.mark.skipif(not FAMILIES, reason=f"no goldens under FLAB_GOLDENS ({GOLDENS})")
@pytest.mark.parametrize("golden", FAMILIES, ids=lambda golden: golden.folder.name)
@FEW
@WORKLOADS
def test_every_family_answers_as_the_reference(
    golden: Golden, record_property: Callable[[str, object], None], seed: int, tokens: int | None
) -> None:
    model = golden.model(next(iter(golden.cases.values())))
    kinds = check(model, seed, tokens, Room())
    record_property(f"tied of {kinds.total()} answers, seed {seed}", kinds["tied"])
    assert kinds["equal"] > kinds["tied"], kinds


@pytest.mark.skipif(not FAMILIES, reason=f"no goldens under FLAB_GOLDENS ({GOLDENS})")
@pytest.mark.parametrize("golden", FAMILIES, ids=lambda golden: golden.folder.name)
def test_options_score_alike_in_float64(golden: Golden) -> None:
    model = golden.model(next(iter(golden.cases.values())))
    ranked = (one for one in requests(model, 0, 60) if isinstance(one.decoding, fl.Rank))
    ours, expected = next(both for one in ranked if (both := in_float64(model, one))[1].error is None)
    assert ours.option_logprobs == pytest.approx(expected.option_logprobs, abs=CLOSE)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> fl.LoadedModel:
    folder = tmp_path_factory.mktemp("idefics")
    write_checkpoint(folder, {}, seed=5)
    return fl.load(folder, dtype="float32")


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=SLOW)
@given(seed=st.integers(0, 10_000), tokens=st.sampled_from([1, 50, 400, None]), is_kept=st.booleans())
def test_random_workloads_with_and_without_kept_features(
    model: fl.LoadedModel, tmp_path_factory: pytest.TempPathFactory, seed: int, tokens: int | None, is_kept: bool
) -> None:
    folder = tmp_path_factory.mktemp("features") if is_kept else None
    for _ in range(2):
        kinds = check(model, seed, tokens, Room(features=folder))
        assert kinds["equal"] > 8, kinds


def test_what_is_shared_is_computed_once(model: fl.LoadedModel) -> None:
    shots = [fl.Shot(PICTURES[n], "what is this thing", answer="a red car") for n in range(2)]
    asked = [
        fl.Request(f"{image} {word} {n}", fl.Prompt.ask(PICTURES[image], f"{word} {n}?", shots=shots), max_new_tokens=2)
        for image, word in itertools.product((2, 3), ("what", "which"))
        for n in range(4)
    ]
    before = dataclasses.replace(model.work)
    found = {answer.id: answer for answer in model.answers(asked)}
    work = model.work
    computed = work.prompt_tokens_computed - before.prompt_tokens_computed
    told = work.prompt_tokens_asked - before.prompt_tokens_asked
    assert work.images_encoded - before.images_encoded == 4
    assert computed < told / 4, (computed, told)
    for request in asked:
        assert compare(model, request, found[request.id], reference.answer(model, request)) == "equal"


@pytest.mark.parametrize("kind", ["across", "inline"])
def test_two_pictures_behind_equal_text_never_meet(kind: str, model: fl.LoadedModel) -> None:
    """Prefixes keyed by token ids alone would give both questions the first picture."""
    if kind == "inline":
        inline = [golden for golden in FAMILIES if golden.folder.name.startswith("llava_v15")]
        if not inline:
            pytest.skip(f"no goldens under FLAB_GOLDENS ({GOLDENS})")
        model = inline[0].model(next(iter(inline[0].cases.values())))
    question = " ".join(WORDS * 2)
    asked = [fl.Request(str(n), fl.Prompt.ask(PICTURES[n % 3], question), fl.Rank(OPTIONS)) for n in range(6)]
    found = {answer.id: answer.option_logprobs for answer in model.answers(asked)}
    assert found["0"] == pytest.approx(found["3"], abs=1e-5)
    assert found["0"] != pytest.approx(found["1"], abs=1e-3)
    for request in asked:
        assert found[request.id] == pytest.approx(reference.answer(model, request).option_logprobs, abs=CLOSE)


def test_slots_are_refilled_while_others_go_on(model: fl.LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer slots than questions, and answers of many lengths."""
    monkeypatch.setattr("flamingo_lab.engine.budget.ROWS", 4)
    asked = [
        fl.Request(str(n), fl.Prompt.raw(PICTURES[n % 5], WORDS[n % len(WORDS)]), max_new_tokens=1 + n % 7)
        for n in range(23)
    ]
    steps = model.work.decode_steps
    with torch.inference_mode():
        found = {answer.id: answer for answer in model.answers(asked)}
    assert model.work.decode_steps - steps < sum(request.max_new_tokens for request in asked) / 2
    for request in asked:
        assert compare(model, request, found[request.id], reference.answer(model, request)) == "equal"
