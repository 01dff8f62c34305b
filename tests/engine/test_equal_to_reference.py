"""The cached, batched loop gives the reference's answers: cached = uncached, batch = single, whatever the decoding."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch

import flamingo_lab as fl
from flamingo_lab.engine import loop, reference
from tests.families.test_idefics_against_transformers import parts
from tests.families.tiny_idefics import write_checkpoint

KINDS = ("it", "titit", "t", "iit", "ittit", "tt", "it", "iiit", "itit", "t")

DECODINGS = {
    "greedy": fl.Greedy(),
    "sample": fl.Sample(temperature=0.9, top_p=0.8, seed=7),
    "sample-hot": fl.Sample(temperature=3.0, seed=1),
    "beams-1": fl.Beam(1),
    "beams-3": fl.Beam(3),
    "beams-3-penalty-0": fl.Beam(3, length_penalty=0.0),
    "beams-4-penalty-2": fl.Beam(4, length_penalty=2.0),
    "rank-sum": fl.Rank(("yes", "no, it is not", "a red car", "x")),
    "rank-mean": fl.Rank(("yes", "no, it is not", "a red car", "x"), normalise="mean"),
    "rank-mean-ends": fl.Rank(("yes", "no, it is not", "a red car", "x"), normalise="mean", ends=True),
}

RULES = {
    "plain": {},
    "min": {"min_new_tokens": 5},
    "stop": {"stop": ("e", "th")},
    "forbidden": {"forbidden": ("a", "<0x0A>", "two")},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> fl.LoadedModel:
    folder = tmp_path_factory.mktemp("idefics")
    write_checkpoint(folder, {}, seed=5)
    return fl.load(folder, dtype="float32")


def requests(decoding: fl.Decoding, rules: dict[str, object]) -> list[fl.Request]:
    prompts = [fl.Prompt.raw(*parts(kinds, 10 * n)) for n, kinds in enumerate(KINDS)]
    return [
        fl.Request(str(n), prompt, decoding, **({"max_new_tokens": 8} | rules))  # pyright: ignore[reportArgumentType]
        for n, prompt in enumerate(prompts)
    ]


def assert_equal(ours: fl.Answer, expected: fl.Answer) -> None:
    assert ours.error is None
    assert ours.token_ids == expected.token_ids
    assert ours.logprob == pytest.approx(expected.logprob, abs=1e-4)
    assert ours.option_logprobs == pytest.approx(expected.option_logprobs, abs=1e-4)
    exact = {"logprob": None, "option_logprobs": None, "seconds": 0.0}
    assert dataclasses.replace(ours, **exact) == dataclasses.replace(expected, **exact)


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("decoding", DECODINGS)
def test_loop_equals_reference_in_any_batch(model: fl.LoadedModel, decoding: str, rules: str) -> None:
    asked = requests(DECODINGS[decoding], RULES[rules])
    expected = {request.id: reference.answer(model, request) for request in asked}
    random.Random(0).shuffle(asked)
    for batch_tokens in (1, 200, 100_000):
        answers = list(loop.answers(model, asked, batch_tokens))
        assert sorted(answer.id for answer in answers) == sorted(expected)
        for answer in answers:
            assert_equal(answer, expected[answer.id])


def test_kinds_of_requests_can_be_mixed(model: fl.LoadedModel) -> None:
    asked = [
        dataclasses.replace(request, id=f"{name}/{request.id}")
        for name, decoding in DECODINGS.items()
        for request in requests(decoding, {})[:4]
    ]
    for answer in loop.answers(model, asked):
        request = next(request for request in asked if request.id == answer.id)
        assert_equal(answer, reference.answer(model, request))


def test_a_forbidden_token_never_comes_and_a_minimum_is_kept(model: fl.LoadedModel) -> None:
    for decoding in (fl.Greedy(), fl.Beam(3), fl.Sample(temperature=2.0, seed=3)):
        for answer in model.answers(requests(decoding, {"min_new_tokens": 8, "forbidden": ("a", "e")})):
            assert len(answer.token_ids) == 8
            banned = {model.tokenizer.id_of(token) for token in ("a", "e", "<image>", "<fake_token_around_image>")}
            assert not banned & set(answer.token_ids)


def test_a_draw_depends_on_seed_and_id_only(model: fl.LoadedModel) -> None:
    def texts(seed: int) -> dict[str, str]:
        asked = requests(fl.Sample(temperature=2.0, seed=seed), {})
        return {answer.id: answer.text for answer in model.answers(asked)}

    assert texts(1) == texts(1)
    assert texts(1) != texts(2)


def test_a_picture_that_cannot_be_read_fails_its_request_alone(model: fl.LoadedModel) -> None:
    asked = requests(fl.Greedy(), {})
    broken = fl.Prompt.raw(fl.Image(b"no picture", name="broken.png"), "what is it?")
    answers = {a.id: a for a in model.answers([*asked, fl.Request("broken", broken)])}
    error = answers.pop("broken").error
    assert error is not None
    assert error.kind == "BadImage"
    assert "broken.png" in error.message
    assert all(answer.error is None for answer in answers.values())


def test_a_prompt_beyond_the_models_positions_says_both_numbers(model: fl.LoadedModel) -> None:
    (answer,) = model.answers([fl.Request("long", fl.Prompt.raw("x" * 400), max_new_tokens=3)])
    assert answer.error is not None
    assert "256" in answer.error.message


@pytest.mark.parametrize(
    "decoding", [fl.Sample(temperature=-1), fl.Sample(top_p=0), fl.Beam(0), fl.Rank(()), fl.Rank(("",))]
)
def test_a_decoding_that_cannot_be_is_an_error_of_its_request(model: fl.LoadedModel, decoding: fl.Decoding) -> None:
    with pytest.raises(fl.LabError):
        model.generate(fl.Prompt.raw("x"), decoding)


def test_a_picture_is_encoded_once(model: fl.LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    encode = type(model.vlm).encode

    def counting(vlm: object, views: list[torch.Tensor], sizes: list[tuple[int, int]]) -> object:
        encoded.extend(len(of_picture) for of_picture in views)
        return encode(vlm, views, sizes)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(type(model.vlm), "encode", counting)
    prompts = [
        fl.Prompt.raw(*parts("itit", 0), "again"),
        fl.Prompt.raw(*parts("it", 0)),
        fl.Prompt.raw(*parts("iti", 0)),
    ]
    list(loop.answers(model, [fl.Request(str(n), prompt) for n, prompt in enumerate(prompts)], pass_tokens=1))
    assert sum(encoded) == 2


def test_a_batch_too_large_for_the_memory_is_asked_by_halves(
    model: fl.LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = type(model.vlm).forward
    refused: list[int] = []

    def small_only(vlm: object, ids: torch.Tensor, *rest: object) -> torch.Tensor:
        if len(ids) > 3:
            refused.append(len(ids))
            raise torch.OutOfMemoryError("not enough memory")
        return forward(vlm, ids, *rest)  # pyright: ignore[reportArgumentType]

    expected = {asked.id: reference.answer(model, asked) for asked in requests(fl.Greedy(), {})}
    monkeypatch.setattr(type(model.vlm), "forward", small_only)
    found = list(model.answers(requests(fl.Greedy(), {})))
    assert refused
    assert len(found) == len(expected)
    for answer in found:
        assert_equal(answer, expected[answer.id])


def test_a_request_that_breaks_the_model_fails_alone(model: fl.LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes while others are being answered: answers that were already given are not given again."""
    embed = type(model.vlm).embed
    poison = model.tokenizer.encode("zzz")[-3:]

    def breaks(vlm: object, ids: torch.Tensor, *rest: object) -> torch.Tensor:
        if any(poison == row[first : first + 3] for row in ids.tolist() for first in range(len(row))):
            raise RuntimeError("a bug")
        return embed(vlm, ids, *rest)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(type(model.vlm), "embed", breaks)
    asked = [*requests(fl.Greedy(), {}), fl.Request("poisoned", fl.Prompt.raw("zzz"))]
    found = list(loop.answers(model, asked, pass_tokens=100))
    assert sorted(answer.id for answer in found) == sorted(request.id for request in asked)
    (failed,) = [answer for answer in found if answer.error]
    assert (failed.id, failed.error and failed.error.kind) == ("poisoned", "RuntimeError")
