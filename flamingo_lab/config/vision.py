"""Pictures: the tower, what makes the decoder's tokens of its own, and what finds things in them."""

from __future__ import annotations

from dataclasses import dataclass

from flamingo_lab.config.kinds import Activation, check_counts, check_few, check_numbers, check_side
from flamingo_lab.pixels import OneView


@dataclass(frozen=True)
class Tower:
    """A vision transformer: patches by convolution, learned positions, pre-norm layers (CLIP, SigLIP).

    `reads_layer` counts as the authors' `hidden_states` do: -1 is the last layer's output, before the norm that follows
    it; -2 the output of the one before. `drops_first` leaves out the first token of what is read, in CLIP the class token.
    `stored_positions`: the tokens of the published table of positions, where it is interpolated to the picture's.
    `has_post_norm`: whether the norm behind the last layer is published; nothing that is read passes it. `projection`: the
    width that pictures share with texts, where the matrix into it is published; only `VisionTower.pooled` passes the two.
    """

    image_px: int
    patch_px: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    activation: Activation = "gelu"
    norm_eps: float = 1e-5
    has_class_token: bool = True
    has_patch_bias: bool = False
    has_pre_norm: bool = True
    has_post_norm: bool = True
    reads_layer: int = -1
    drops_first: bool = False
    stored_positions: int | None = None
    projection: int | None = None

    def __post_init__(self) -> None:
        check_few(layers=self.layers)
        check_side(self.image_px)
        check_counts(
            patch_px=self.patch_px,
            width=self.width,
            heads=self.heads,
            head_width=self.width // self.heads,
            positions=self.positions,
            mlp_width=self.mlp_width,
        )
        check_numbers(norm_eps=self.norm_eps)

    @property
    def positions(self) -> int:
        """Tokens that pass the layers."""
        return (self.image_px // self.patch_px) ** 2 + self.has_class_token

    @property
    def tokens(self) -> int:
        """Tokens of one picture that are read."""
        return self.positions - self.drops_first


@dataclass(frozen=True)
class Resampler:
    """A perceiver resampler (arXiv 2204.14198, section 3.1): `latents` tokens a picture, whatever its size.

    `has_input_norm`: a layer norm on the tower's tokens; `has_place`: a learned vector is added to them, the place of
    the one picture; `projects_to`: the width of a linear layer behind the last norm.
    """

    width: int
    depth: int
    heads: int
    head_width: int
    latents: int
    mlp_width: int
    has_qk_norms: bool
    activation: Activation = "relu"
    norm_eps: float = 1e-5
    has_input_norm: bool = False
    has_place: bool = False
    projects_to: int | None = None

    def __post_init__(self) -> None:
        check_few(layers=self.depth)
        check_counts(
            width=self.width,
            heads=self.heads,
            head_width=self.head_width,
            latents=self.latents,
            mlp_width=self.mlp_width,
        )

    @property
    def out_width(self) -> int:
        """Width of the tokens that come out."""
        return self.projects_to or self.width


@dataclass(frozen=True)
class Projector:
    """Linear layers from the tower's width, or the numbers of a patch, to the decoder's, with an activation between them.

    `widths` begins with the tower's; two of them are one linear layer, one is nothing at all. `has_norms`: a layer norm
    behind every linear layer, before the activation (Yi-VL).
    """

    widths: tuple[int, ...]
    activation: Activation = "gelu"
    has_norms: bool = False
    norm_eps: float = 1e-5

    @property
    def out_width(self) -> int:
        """Width of the tokens that come out."""
        return self.widths[-1]


@dataclass(frozen=True)
class TwoLengths:
    """Two connectors for every picture: its `long` tokens, then its `short` ones. The markup says which are shown."""

    long: Projector
    short: Resampler

    @property
    def out_width(self) -> int:
        """Width of the tokens that come out."""
        return self.long.out_width


@dataclass(frozen=True)
class QueryResampler:
    """One attention of learned queries over a picture's patches, both with positions in the picture (Qwen-VL).

    The `latents` queries stand in a square grid. Their table of positions is published, and interpolated for the keys.
    """

    in_width: int
    width: int
    heads: int
    latents: int
    norm_eps: float = 1e-6

    @property
    def out_width(self) -> int:
        """Width of the tokens that come out."""
        return self.width


Connector = Resampler | Projector | TwoLengths | QueryResampler


@dataclass(frozen=True)
class MaskDecoder:
    """A two-way transformer between prompts and a picture, and what makes a mask of it (SAM, arXiv 2304.02643).

    Attention between the two sides has `width / shrinks` channels; `mask_channels`: of the first layer that reads masks
    as prompts.
    """

    width: int = 256
    heads: int = 8
    depth: int = 2
    mlp_width: int = 2048
    shrinks: int = 2
    masks: int = 4
    mask_channels: int = 16


@dataclass(frozen=True)
class Locator:
    """What finds in a picture what the decoder means by `token` (SEAL): OWL-ViT's tower and heads, and a mask decoder.

    `tower` reads every patch of the whole picture, as `pipeline` gives it; `query_width`: of what its heads are asked with.
    """

    tower: Tower
    pipeline: OneView
    query_width: int
    masks: MaskDecoder
    token: str = "[LOC]"
