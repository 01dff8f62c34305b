"""Positions whose scale depends on the prompt's length, or on their own: Qwen's dynamic NTK and queries by length."""

from __future__ import annotations

import math

import pytest
import torch

from flamingo_lab.config import Decoder, Rotary
from flamingo_lab.nn.decoder import CausalDecoder, DecoderLayer
from flamingo_lab.nn.positions import Places, log_n, ntk_factor, rotate, rotation

HEAD = 8


@pytest.mark.parametrize(("tokens", "alpha"), [(1, 1), (64, 1), (65, 3), (128, 3), (129, 7), (256, 7), (257, 15)])
def test_the_base_grows_with_each_doubling_of_the_prompt(tokens: int, alpha: int) -> None:
    places = Places(torch.tensor([[tokens - 1]]))
    assert ntk_factor(places, 64).tolist() == [alpha]


def test_a_rotation_depends_on_its_rows_prompt_and_not_on_what_is_generated() -> None:
    positions = torch.arange(70).expand(2, -1)
    prompts = torch.tensor([70, 64])
    plain = rotation(Places(positions), Rotary(), HEAD, torch.float32)
    scaled = rotation(Places(positions, prompts=prompts), Rotary(ntk_length=64), HEAD, torch.float32)
    assert torch.equal(scaled.cos[1], plain.cos[1])
    wide = Rotary(10_000.0 * 3 ** (HEAD / (HEAD - 2)))
    expected = rotation(Places(positions), wide, HEAD, torch.float32)
    torch.testing.assert_close(scaled.cos[0], expected.cos[0])
    answering = Places(positions[:, -6:], prompts=torch.tensor([64, 54]))
    torch.testing.assert_close(
        rotation(answering, Rotary(ntk_length=64), HEAD, torch.float32).sin, plain.sin[:, :, -6:]
    )


def test_queries_grow_with_the_logarithm_of_their_place_behind_the_length() -> None:
    places = Places(torch.arange(128)[None])
    factors = log_n(places, 64, torch.float32)[0, 0, [0, 63, 64, 127], 0].tolist()
    assert factors == pytest.approx([1, 1, math.log(65, 64), math.log(128, 64)])


def test_what_is_asked_together_are_its_real_tokens() -> None:
    positions = torch.tensor([[1, 2, 3], [1, 2, 3]])
    real = torch.tensor([[True, True, True], [True, True, False]])
    places = Places(positions, real, together=torch.tensor([3, 4]))
    assert places.are_together().tolist() == [[True, True, False], [True, True, False]]
    assert Places(torch.arange(4)[None]).are_together().all()


def test_a_window_is_looked_through_only_where_it_is_passed() -> None:
    assert Places(torch.arange(5)[None]).mask(5) == "causal"
    assert Places(torch.tensor([[9]])).mask(5) is None
    mask = Places(torch.arange(4)[None]).mask(2)
    assert isinstance(mask, torch.Tensor)
    assert mask.int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]


def test_a_decoder_turns_by_the_prompts_base_and_scales_queries_behind_the_length() -> None:
    """Against attention spelt out for one layer, a prompt of 11 tokens and 3 new ones at a length of 8."""
    torch.manual_seed(0)
    config = Decoder(9, 2 * HEAD, 1, 2, 8, 64, place=Rotary(ntk_length=8), log_n_length=8)
    decoder = CausalDecoder(config)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter)
    ids = torch.randint(0, 9, (1, 14))
    places = Places(torch.arange(14)[None], prompts=torch.tensor([11]))
    layer = decoder.layers[0]
    assert isinstance(layer, DecoderLayer)
    with torch.no_grad():
        x = decoder.embedding(ids)
        found = decoder(x, places)
        normed = layer.attention_norm(x)
        turn = rotation(places, Rotary(10_000.0 * 3 ** (HEAD / (HEAD - 2))), HEAD, torch.float32)
        keys, values = layer.attention.keys_values(normed)
        scores = rotate(layer.attention.queries(normed), turn) @ rotate(keys, turn).mT / math.sqrt(HEAD)
        scores *= torch.tensor([max(1.0, math.log(n, 8)) for n in range(1, 15)])[:, None]
        seen = scores.masked_fill(torch.ones(14, 14, dtype=torch.bool).triu(1), -torch.inf).softmax(-1) @ values
        x = x + layer.attention.merge(seen)
        assert layer.mlp_norm is not None
        expected = decoder.norm(x + layer.mlp(layer.mlp_norm(x)))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
