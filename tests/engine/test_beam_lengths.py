"""What a beam's length counts: new tokens alone, or the prompt and the new tokens without the stop token."""

from __future__ import annotations

import random

import pytest
import torch

import flamingo_lab as fl
from flamingo_lab.engine import loop, reference
from flamingo_lab.engine.plan import job
from tests.families.test_idefics_against_transformers import parts
from tests.families.tiny_open_flamingo import VOCAB, write_checkpoint

KINDS = ("it", "titit", "t", "iit", "ittit", "tt")

STOP = VOCAB - 3
"""The end of a chunk."""

PENALTIES = (-2.0, 0.0, 0.5, 1.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> fl.LoadedModel:
    """A family whose authors count the prompt, with a stop token that ends some beams and not others."""
    written = write_checkpoint(tmp_path_factory.mktemp("of"), "gpt_neox", seed=11)
    rows = written.held["lang_encoder.embed_out.weight"]
    rows[STOP] *= 3
    written.save(written.held)
    return written.load()


def requests(decoding: fl.Beam, **more: object) -> list[fl.Request]:
    prompts = [fl.Prompt.raw(*parts(kinds, 10 * n)) for n, kinds in enumerate(KINDS)]
    return [
        fl.Request(str(n), prompt, decoding, max_new_tokens=6, **more)  # pyright: ignore[reportArgumentType]
        for n, prompt in enumerate(prompts)
    ]


def logprob(model: fl.LoadedModel, request: fl.Request, ids: tuple[int, ...]) -> float:
    """The summed log-probability of an answer, from one forward pass."""
    ready = job(model, request)
    whole = reference.logits(model, reference.extended(ready.sequence, ids), reference.picture_tokens(model, ready))
    predicting = whole.log_softmax(-1)[len(ready.ids) - 1 : -1]
    return float(predicting.gather(-1, torch.tensor(ids)[:, None]).sum())


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("counts", ["new", "prompt+new", None])
def test_a_score_is_the_sum_over_the_length_that_counts(
    model: fl.LoadedModel, counts: str | None, penalty: float
) -> None:
    ended: set[str] = set()
    for request in requests(fl.Beam(3, penalty, counts)):  # pyright: ignore[reportArgumentType]
        answer = reference.answer(model, request)
        length = len(answer.token_ids)
        if counts != "new":  # the family counts the prompt
            length += answer.prompt_tokens - (answer.stopped_by == "stop token")
        expected = logprob(model, request, answer.token_ids) / length**penalty
        assert answer.logprob == pytest.approx(expected, rel=1e-4)
        ended.add(answer.stopped_by)
    assert ended == {"stop token", "length"}


@pytest.mark.parametrize("penalty", PENALTIES)
def test_the_answer_does_not_depend_on_the_batch(model: fl.LoadedModel, penalty: float) -> None:
    asked = requests(fl.Beam(3, penalty))
    expected = {request.id: reference.answer(model, request) for request in asked}
    random.Random(0).shuffle(asked)
    for batch_tokens in (1, 200, 100_000):
        for answer in loop.answers(model, asked, batch_tokens):
            assert answer.token_ids == expected[answer.id].token_ids
            assert answer.logprob == pytest.approx(expected[answer.id].logprob, rel=1e-4)


def test_a_padded_prompt_counts_as_long_as_it_is_said_to_be(model: fl.LoadedModel) -> None:
    for plain, padded in zip(requests(fl.Beam(3, 1.0)), requests(fl.Beam(3, 1.0), padded_to=100), strict=True):
        (answer,) = loop.answers(model, [padded])
        length = 100 + len(answer.token_ids) - (answer.stopped_by == "stop token")
        assert answer.logprob == pytest.approx(logprob(model, plain, answer.token_ids) / length, rel=1e-4)


def test_padding_means_nothing_where_new_tokens_count(model: fl.LoadedModel) -> None:
    beam = fl.Beam(3, -2.0, "new")
    for plain, padded in zip(requests(beam), requests(beam, padded_to=100), strict=True):
        assert reference.answer(model, plain) == reference.answer(model, padded)


def test_what_counts_decides_between_a_short_and_a_long_answer(model: fl.LoadedModel) -> None:
    chosen = {
        counts: [reference.answer(model, request).token_ids for request in requests(fl.Beam(3, 2.0, counts))]
        for counts in ("new", "prompt+new")
    }
    assert chosen["new"] != chosen["prompt+new"]


def test_a_prompt_padded_to_nothing_is_an_error_of_its_request(model: fl.LoadedModel) -> None:
    (answer, *_) = loop.answers(model, requests(fl.Beam(3), padded_to=0)[:1])
    assert answer.error is not None
    assert answer.error.message == "padded_to is 0; a prompt has at least 1 position"
