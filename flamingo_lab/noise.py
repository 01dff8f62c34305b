"""Random numbers that depend on a name alone, so that an answer does not depend on its company."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from flamingo_lab.config import Decoder


def generator(name: str) -> torch.Generator:
    """A generator that gives the same numbers whenever it is made of this name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
    return torch.Generator().manual_seed(seed)


@dataclass(frozen=True)
class RouterNoise:
    """Gumbel noise for the experts' second choices, by the request's id.

    DeepSpeed 0.9.5 adds it at inference too, so the authors' answers are drawn by chance. Here it depends on the seed, the
    request's id, the layer and the token's position, and on nothing else: beams of one request share it.
    """

    seed: int
    layers: int
    positions: int
    experts: int

    def __call__(self, request_id: str) -> Tensor:
        """(L, P, E) float32: of each layer with experts, position and expert."""
        shape = (self.layers, self.positions, self.experts)
        drawn = torch.rand(shape, generator=generator(f"{self.seed}/{request_id}/router"), dtype=torch.float64)
        return -(-drawn.clamp(min=torch.finfo(torch.float64).tiny).log()).log().float()


def router_noise(decoder: Decoder) -> RouterNoise | None:
    """The noise that the decoder's configuration asks for, None where it asks for none."""
    experts = decoder.experts
    if experts is None or experts.noise_seed is None:
        return None
    return RouterNoise(experts.noise_seed, len(experts.layers), decoder.positions, max(experts.counts))
