"""Two experts a token: against the rules spelt out token by token, and against transformers' Mixtral."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Literal

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from flamingo_lab.config import Decoder, Experts
from flamingo_lab.nn.decoder import CausalDecoder
from flamingo_lab.nn.experts import Mixture, Router, Routing, balance_loss
from flamingo_lab.nn.positions import Places

WIDTH = 5


def spelt_out(
    logits: np.ndarray, noise: np.ndarray, factor: float, least: int, chosen: int = 2
) -> tuple[np.ndarray, int]:
    """Weights (T, E) of one sequence and its capacity, by the rules of DeepSpeed 0.9.5.

    A single choice keeps its gate as its weight; of tokens that ask for too few places the first ones get them, where
    DeepSpeed draws them by lot.
    """
    tokens, count = logits.shape
    gates = np.exp(logits - logits.max(-1, keepdims=True))
    gates /= gates.sum(-1, keepdims=True)
    capacity = max(math.ceil(np.float32(tokens / count) * np.float32(chosen * factor)), least)
    first = gates.argmax(-1)
    other = logits + noise
    other[np.arange(tokens), first] = -np.inf
    second = other.argmax(-1)
    kept = np.zeros_like(gates)
    taken = Counter[int]()
    for choices in (first, second)[:chosen]:  # all first choices before any second one
        for token, expert in enumerate(choices):
            if taken[expert] < capacity:
                kept[token, expert] = gates[token, expert]
            taken[expert] += 1  # a choice without a place keeps its number
    if chosen == 2:
        kept /= np.maximum(kept.sum(-1, keepdims=True), np.finfo(np.float32).eps)
    return kept, capacity


def routed(count: int, factor: float, least: int, x: Tensor, places: Places, chosen: Literal[1, 2] = 2) -> Routing:
    router = Router(WIDTH, Experts((0,), (count,), factor, least, chosen=chosen), 0)
    torch.nn.init.normal_(router.weight)
    with torch.no_grad():
        return router(x, places)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    count=st.integers(2, 5),
    factor=st.sampled_from([0.1, 0.3, 0.4, 0.75, 1.0, 2.0]),
    least=st.sampled_from([0, 1, 4]),
    is_noisy=st.booleans(),
    chosen=st.sampled_from([1, 2]),
    seed=st.integers(0, 1000),
)
def test_routing_follows_the_rules_row_by_row(
    lengths: list[int], count: int, factor: float, least: int, is_noisy: bool, chosen: Literal[1, 2], seed: int
) -> None:
    torch.manual_seed(seed)
    rows, longest = len(lengths), max(lengths)
    positions = torch.arange(longest).expand(rows, -1)
    real = positions < torch.tensor(lengths)[:, None]
    noise = torch.randn(rows, 1, longest, count) if is_noisy else None
    places = Places(positions, real, noise=noise)
    routing = routed(count, factor, least, torch.randn(rows, longest, WIDTH), places, chosen)
    for row, length in enumerate(lengths):
        own = np.zeros((length, count)) if noise is None else noise[row, 0, :length].double().numpy()
        weights, capacity = spelt_out(routing.logits[row][real[row]].double().numpy(), own, factor, least, chosen)
        assert int(routing.capacity[row]) == capacity
        np.testing.assert_allclose(routing.weights[row][real[row]].numpy(), weights, atol=1e-6)


def test_a_token_behind_the_prompt_is_a_sequence_of_its_own() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 12, WIDTH)
    positions = torch.arange(12)[None]
    whole = routed(3, 0.2, 0, x, Places(positions))
    assert (whole.weights.sum(-1) == 0).sum() > 3
    torch.manual_seed(0)
    torch.randn(1, 12, WIDTH)
    parted = routed(3, 0.2, 0, x, Places(positions, together=torch.tensor([9])))
    assert torch.equal(parted.logits, whole.logits)
    assert torch.equal((parted.weights[:, 9:] > 0).sum(-1), torch.full((1, 3), 2))
    weights, capacity = spelt_out(whole.logits[0, :9].double().numpy(), np.zeros((9, 3)), 0.2, 0)
    np.testing.assert_allclose(parted.weights[0, :9].numpy(), weights, atol=1e-6)
    assert int(parted.capacity) == capacity


def test_noise_moves_second_choices_alone() -> None:
    torch.manual_seed(0)
    x, positions = torch.randn(1, 30, WIDTH), torch.arange(30)[None]
    quiet, noisy = (routed_again(x, Places(positions, noise=noise)) for noise in (None, 9 * torch.randn(1, 1, 30, 4)))
    assert torch.equal(quiet.first, noisy.first)
    assert not torch.equal(quiet.weights, noisy.weights)


def routed_again(x: Tensor, places: Places) -> Routing:
    torch.manual_seed(1)
    return routed(4, 2.0, 0, x, places)


def test_a_token_that_no_expert_takes_adds_nothing() -> None:
    torch.manual_seed(0)
    config = Decoder(
        vocab=3, width=WIDTH, layers=1, heads=1, mlp_width=7, positions=64, is_gated=False, has_mlp_bias=True
    )
    mixture = Mixture(config, Experts((0,), (3,), 0.2, 0), 0)
    for parameter in mixture.parameters():
        torch.nn.init.normal_(parameter)
    x, places = torch.randn(1, 12, WIDTH), Places(torch.arange(12)[None])
    with torch.no_grad():
        weights = mixture.router(x, places).weights
        mixed = mixture(x, places)
    is_left = weights.sum(-1) == 0
    assert 0 < is_left.sum() < 12
    assert (mixed[is_left] == 0).all()
    assert (mixed[~is_left] != 0).all()


def test_a_common_branch_stands_beside_the_experts_by_shares() -> None:
    torch.manual_seed(0)
    config = Decoder(vocab=3, width=WIDTH, layers=1, heads=1, mlp_width=7, positions=64)
    mixture = Mixture(config, Experts((0,), (3,), 2.0, 0, has_common=True), 0)
    alone = Mixture(config, Experts((0,), (3,), 2.0, 0), 0)
    for parameter in mixture.parameters():
        torch.nn.init.normal_(parameter)
    alone.load_state_dict({name: mixture.state_dict()[name] for name in alone.state_dict()})
    x, places = torch.randn(1, 12, WIDTH), Places(torch.arange(12)[None])
    assert mixture.shares is not None and mixture.common is not None
    with torch.no_grad():
        first, second = mixture.shares(x).softmax(-1).unbind(-1)
        expected = first[..., None] * alone(x, places) + second[..., None] * mixture.common(x)
        np.testing.assert_allclose(mixture(x, places).numpy(), expected.numpy(), atol=1e-6)


def test_balance_is_one_where_tokens_spread_evenly_and_counts_the_prompt_alone() -> None:
    logits = 50 * torch.eye(4).repeat(3, 1)[None]
    counted = torch.ones(1, 12, dtype=torch.bool)
    routing = Routing(logits, logits.argmax(-1), logits, torch.tensor([6]), counted)
    assert float(balance_loss(routing)) == pytest.approx(1.0)
    crowded = torch.cat((logits, logits[:, :1].expand(-1, 20, -1)), 1)
    without = torch.cat((counted, torch.zeros(1, 20, dtype=torch.bool)), 1)
    assert float(
        balance_loss(Routing(crowded, crowded.argmax(-1), crowded, routing.capacity, without))
    ) == pytest.approx(1.0)
    assert float(balance_loss(Routing(crowded, crowded.argmax(-1), crowded, routing.capacity, without | True))) > 1.5


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    heads=st.sampled_from([(1, 1), (2, 1), (4, 2)]),
    layers=st.integers(1, 3),
    count=st.integers(2, 6),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_equal_to_mixtral_where_nothing_is_dropped(
    heads: tuple[int, int], layers: int, count: int, lengths: list[int], seed: int
) -> None:
    torch.manual_seed(seed)
    width = 8 * heads[0]
    theirs = transformers.MixtralForCausalLM(
        transformers.MixtralConfig(
            vocab_size=20,
            hidden_size=width,
            intermediate_size=24,
            num_hidden_layers=layers,
            num_attention_heads=heads[0],
            num_key_value_heads=heads[1],
            num_local_experts=count,
            num_experts_per_tok=2,
            rope_theta=10_000.0,
        )
    ).eval()
    experts = Experts(tuple(range(layers)), (count,) * layers, count / 2, 0)
    ours = CausalDecoder(
        Decoder(20, width, layers, heads[0], 24, 128, kv_heads=heads[1], norm_eps=1e-5, experts=experts)
    )
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    ours.load_state_dict(renamed(theirs.state_dict()))
    for length in lengths:
        ids = torch.randint(0, 20, (2, length))
        with torch.no_grad():
            expected = theirs(input_ids=ids).logits
            hidden = ours(ours.embedding(ids), Places(torch.arange(length).expand_as(ids)))
            np.testing.assert_allclose(ours.logits(hidden).numpy(), expected.numpy(), atol=1e-4, rtol=1e-5)


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Mixtral's parameters under our names."""
    named: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if "mlp.experts" in name:
            at = name.split(".experts.")[0].removeprefix("model.")
            for expert, own in enumerate(tensor):
                parts: dict[str, Any] = (
                    {"down": own} if "down_proj" in name else dict(zip(("gate", "up"), own.chunk(2), strict=True))
                )
                named |= {f"{at}.experts.{expert}.{part}.weight": held for part, held in parts.items()}
            continue
        for theirs, ours in {
            "model.embed_tokens": "embedding",
            "lm_head": "head",
            "model.": "",
            "self_attn.o_proj": "attention.out",
            "self_attn": "attention",
            "_proj": "",
            "mlp.gate": "mlp.router",
            "input_layernorm": "attention_norm",
            "post_attention_layernorm": "mlp_norm",
        }.items():
            name = name.replace(theirs, ours)
        named[name] = tensor
    return named
