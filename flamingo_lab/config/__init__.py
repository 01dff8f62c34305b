"""What a model is made of, as data: one frozen dataclass a part. Needs no torch.

A mechanism of the core is one field here and the few lines in `nn/` that read it; a family fills the fields from its
published `config.json`.
"""

from __future__ import annotations

from dataclasses import dataclass

from flamingo_lab.config.kinds import Activation, Norm
from flamingo_lab.config.text import Alibi, Cross, Decoder, Experts, Inline, Rotary
from flamingo_lab.config.vision import (
    Connector,
    Locator,
    MaskDecoder,
    Projector,
    QueryResampler,
    Resampler,
    Tower,
    TwoLengths,
)
from flamingo_lab.patches import Patching
from flamingo_lab.tiles import Tiling

__all__ = [
    "Activation",
    "Alibi",
    "Architecture",
    "Connector",
    "Cross",
    "Decoder",
    "Experts",
    "Inline",
    "Locator",
    "MaskDecoder",
    "Norm",
    "Projector",
    "QueryResampler",
    "Resampler",
    "Rotary",
    "Tower",
    "TwoLengths",
]


@dataclass(frozen=True)
class Architecture:
    """The whole model. Without a connector the tower's own tokens are what the decoder gets.

    `vision`: the tower, None where the connector gets the picture's own patches, cut as `patching` says. `tiling`: how one
    picture becomes several for the tower, and their tokens one sequence again. `locator`: what else reads the picture and
    the decoder's last hidden states.
    """

    vision: Tower | None
    connector: Connector | None
    decoder: Decoder
    join: Cross | Inline
    tiling: Tiling | None = None
    locator: Locator | None = None
    patching: Patching | None = None

    @property
    def tower(self) -> Tower:
        """The tower of a model that has one."""
        assert self.vision is not None, "a model without a tower was asked for it"
        return self.vision

    @property
    def tokens_per_view(self) -> int:
        """Tokens that the connector gives for one picture of the tower's size."""
        if isinstance(self.connector, TwoLengths):
            return self.tower.tokens + self.connector.short.latents
        if isinstance(self.connector, Resampler | QueryResampler):
            return self.connector.latents
        return self.tower.tokens

    @property
    def most_pictures(self) -> int | None:
        """Pictures that a prompt may show, worked examples included; None for any number."""
        return self.join.pictures if isinstance(self.join, Inline) else None

    @property
    def picture_width(self) -> int:
        """Width of the tokens that the decoder gets."""
        return self.connector.out_width if self.connector else self.tower.width

    def tokens_of(self, size: tuple[int, int]) -> int:
        """How many tokens a picture of this size, (width, height) in pixels, becomes."""
        if self.patching:
            return self.patching.tokens(size)
        return self.tiling.tokens(size) if self.tiling else self.tokens_per_view
