"""Feed-forward branches of which each token takes one or two: gating with limited places (GShard, arXiv 2006.16668).

The arithmetic is that of DeepSpeed 0.9.5, deepspeed/moe/sharded_moe.py, on each sequence by itself: a prompt's tokens share
the prompt's places, padding takes none, and each later token is routed as a sequence of one, as in the authors' cached loop.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from flamingo_lab.config import Decoder, Experts
from flamingo_lab.nn.mlp import feed_forward
from flamingo_lab.nn.positions import Places


class Routing(NamedTuple):
    """Which experts tokens take.

    logits (B, T, E) float32; first (B, T) int: each token's first choice; weights (B, T, E) float32: what each expert's
    output counts, zero where it is not asked; capacity (B,) int: places with each expert; counted (B, T) bool: the tokens
    that take one of them.
    """

    logits: Tensor
    first: Tensor
    weights: Tensor
    capacity: Tensor
    counted: Tensor


class Router(nn.Module):
    """A linear layer in float32, and one or two choices a token.

    All first choices are placed before any second one, each kind in the order of the sequence. The weights of two choices,
    as far as they found a place, are their gates made to add up to one; a single choice's weight is its gate. `number`: which
    of the layers with experts this one is.
    """

    def __init__(self, width: int, config: Experts, number: int) -> None:
        super().__init__()
        self._count = config.counts[number]
        self._config = config
        self._number = number
        self.weight = nn.Parameter(torch.zeros(self._count, width))

    def forward(self, x: Tensor, places: Places) -> Routing:
        """x (B, T, D). Noise acts on the second choice alone, and on no weight."""
        logits = F.linear(x.float(), self.weight.float())
        gates = logits.softmax(-1)
        choices = self._choices(logits, gates, places)
        counted = places.are_together()
        capacity = self._capacity(counted.sum(-1))
        weights = torch.zeros_like(gates)
        placed = torch.zeros_like(capacity)[:, None, None]
        for choice in choices:
            takes = F.one_hot(choice, self._count) * counted[..., None]
            before = takes.cumsum(1) - takes + placed
            has_room = (before < capacity[:, None, None]) | ~counted[..., None]
            weights = weights.scatter(-1, choice[..., None], (gates * has_room).gather(-1, choice[..., None]))
            placed = placed + takes.sum(1, keepdim=True)
        if len(choices) > 1:
            weights = weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float32).eps)
        return Routing(logits, choices[0], weights, capacity, counted)

    def _choices(self, logits: Tensor, gates: Tensor, places: Places) -> list[Tensor]:
        """The experts that each token asks, (B, T) int each."""
        first = gates.argmax(-1)
        if self._config.chosen == 1:
            return [first]
        noisy = logits if places.noise is None else logits + self._noise(places.noise, places.positions)
        return [first, noisy.scatter(-1, first[..., None], -torch.inf).argmax(-1)]

    def _capacity(self, tokens: Tensor) -> Tensor:
        """Places with each expert for sequences of so many tokens, (B,) int; multiplied in float32, as the authors do."""
        per_expert = (tokens.double() / self._count).float()
        places = per_expert * (self._config.chosen * self._config.capacity_factor)
        return places.ceil().long().clamp(min=self._config.min_capacity)

    def _noise(self, tables: Tensor, positions: Tensor) -> Tensor:
        """The noise (B, T, E) of this layer at positions (B, T)."""
        table = tables[:, self._number, :, : self._count]
        return table.gather(1, positions[..., None].expand(-1, -1, self._count))


class Mixture(nn.Module):
    """The feed-forward branch of a layer with experts, beside a common one where there is one (residual experts)."""

    def __init__(self, decoder: Decoder, config: Experts, number: int) -> None:
        super().__init__()
        self.router = Router(decoder.width, config, number)
        self.experts = nn.ModuleList(branch(decoder) for _ in range(config.counts[number]))
        self.common = branch(decoder) if config.has_common else None
        self.shares = nn.Linear(decoder.width, 2) if config.has_common else None

    def forward(self, x: Tensor, places: Places) -> Tensor:
        """(B, T, D) -> (B, T, D); without a common branch zero for a token that no expert takes."""
        mixed = self._mixed(x, places)
        if self.common is None or self.shares is None:
            return mixed
        shares = self.shares(x).softmax(-1)
        return mixed * shares[..., :1] + self.common(x) * shares[..., 1:]

    def _mixed(self, x: Tensor, places: Places) -> Tensor:
        tokens = x.flatten(0, 1)
        weights = self.router(x, places).weights.flatten(0, 1).to(x.dtype)
        mixed = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            taken = weights[:, number].nonzero()[:, 0]
            mixed = mixed.index_add(0, taken, expert(tokens[taken]) * weights[taken, number, None])
        return mixed.view_as(x)


def branch(decoder: Decoder) -> nn.Module:
    """A feed-forward branch of the decoder's own kind."""
    return feed_forward(
        decoder.width,
        decoder.mlp_width,
        decoder.activation,
        is_gated=decoder.is_gated,
        has_bias=decoder.has_mlp_bias,
    )


def balance_loss(routing: Routing) -> Tensor:
    """(B,): what training adds for each sequence so that its tokens spread over the experts; 1 where they do evenly.

    All first choices count, whether they found a place or not.
    """
    count = routing.logits.shape[-1]
    tokens = routing.counted.sum(-1, keepdim=True)
    gates, choices = routing.logits.softmax(-1), F.one_hot(routing.first, count)
    shares = [(each * routing.counted[..., None]).sum(1) / tokens for each in (gates, choices)]
    return (shares[0] * shares[1]).mean(-1) * count**2
