"""Two connectors side by side: a picture's tokens in two lengths, of which a prompt shows one (SEAL)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flamingo_lab.config import TwoLengths
from flamingo_lab.nn.perceiver import PerceiverResampler
from flamingo_lab.nn.projector import LinearProjector


class BothLengths(nn.Module):
    """Patches (N, P, D) -> a token a patch, then the latents: (N, P + L, D out).

    Both are made for every picture, as the authors do, so that a picture passes the tower once however it is shown.
    """

    def __init__(self, config: TwoLengths) -> None:
        super().__init__()
        self.long = LinearProjector(config.long)
        self.short = PerceiverResampler(config.short)

    def forward(self, patches: Tensor) -> Tensor:
        return torch.cat((self.long(patches), self.short(patches)), 1)
