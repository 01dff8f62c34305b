"""Linear layers between the tower's width and the decoder's."""

from __future__ import annotations

from torch import Tensor, nn

from flamingo_lab.config import Projector
from flamingo_lab.nn.mlp import ACTIVATIONS


class LinearProjector(nn.Module):
    """(N, P, width of the tower) -> (N, P, width of the decoder)."""

    def __init__(self, config: Projector) -> None:
        super().__init__()
        pairs = list(zip(config.widths[:-1], config.widths[1:], strict=True))
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairs)
        self.norms = nn.ModuleList(nn.LayerNorm(after, config.norm_eps) for _, after in pairs if config.has_norms)
        self.activation = ACTIVATIONS[config.activation]

    def forward(self, x: Tensor) -> Tensor:
        for number, layer in enumerate(self.layers):
            x = layer(self.activation(x) if number else x)
            if len(self.norms):
                x = self.norms[number](x)
        return x
