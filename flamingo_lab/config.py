"""What a model is made of, as data: one frozen dataclass a part. Needs no torch.

A mechanism of the core is one field here and the few lines in `nn/` that read it; a family fills the fields from its
published `config.json`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from flamingo_lab.patches import Patching
from flamingo_lab.pixels import OneView
from flamingo_lab.tiles import Tiling

Activation = Literal["gelu", "gelu_tanh", "quick_gelu", "relu", "relu_squared", "silu"]

Norm = Literal["rms", "layer", "layer_without_bias"]


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
class Rotary:
    """Rotary positions on the first `fraction` of each head (arXiv 2104.09864), in halves as LLaMA lays them out.

    `ntk_length`: prompts longer than that stretch the base, by a factor that their length fixes (dynamic NTK, Qwen).
    """

    base: float = 10_000.0
    fraction: float = 1.0
    ntk_length: int | None = None


@dataclass(frozen=True)
class Alibi:
    """Linear biases by distance (arXiv 2108.12409). `slopes`: how they are spread where heads are no power of two.

    "plain" uses the formula as it stands; "interleaved" takes the next power of two's, the odd ones first.
    """

    max_bias: float = 8.0
    slopes: Literal["plain", "interleaved"] = "plain"


@dataclass(frozen=True)
class Experts:
    """Several feed-forward branches in place of one in the decoder layers `layers`; each token takes two of them.

    `counts`: how many there are in each of these layers. A sequence of S tokens has 2 S / count * `capacity_factor` places
    with each of them, rounded up, and at least `min_capacity`; a token that finds none goes on without. `balance_weight`:
    what the loss that spreads tokens over the experts counts in training. `noise_seed`: the authors' noise on the second
    choice, drawn anew for every request; None leaves it out.
    """

    layers: tuple[int, ...]
    counts: tuple[int, ...]
    capacity_factor: float
    min_capacity: int
    balance_weight: float = 0.0
    noise_seed: int | None = None


@dataclass(frozen=True)
class Decoder:
    """A pre-norm causal decoder.

    `extra_vocab` rows are held apart from the frozen vocabulary and follow it in the ids (decoupled embeddings).
    `is_parallel`: both branches of a layer read the same norm of its input and are added together (Phi, GPT-J).
    `qk_norm`: whether queries and keys are normalised, each head by itself or over the whole width.
    `window`: how many positions back a token sees, itself counted; None for all.
    `log_n_length`: beyond that many positions queries grow with the logarithm of their own (log-n attention, Qwen).
    `share`: which of how many equal parts of the heads this process has; it names no other model, so it is not shown.
    """

    vocab: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    positions: int
    extra_vocab: int = 0
    kv_heads: int | None = None
    norm: Norm = "rms"
    norm_eps: float = 1e-6
    activation: Activation = "silu"
    is_gated: bool = True
    is_parallel: bool = False
    has_qkv_bias: bool = False
    has_out_bias: bool = False
    has_mlp_bias: bool = False
    qk_norm: Literal["head", "width"] | None = None
    place: Rotary | Alibi = Rotary()
    window: int | None = None
    log_n_length: int | None = None
    ties_embeddings: bool = False
    experts: Experts | None = None
    share: tuple[int, int] = field(default=(0, 1), repr=False)

    @property
    def head_width(self) -> int:
        """Channels of one head."""
        return self.width // self.heads

    @property
    def own_kv_heads(self) -> int:
        """Heads of keys and values that this process has."""
        return max(1, (self.kv_heads or self.heads) // self.share[1])


@dataclass(frozen=True)
class Cross:
    """Gated cross-attention blocks before the decoder layers named by `layers`.

    `kv_width` is the width of the picture tokens; a `scalar` gate is one number a branch, a `vector` gate one a channel.
    """

    layers: tuple[int, ...]
    kv_width: int
    heads: int
    head_width: int
    mlp_width: int
    norm: Norm
    norm_eps: float
    activation: Activation
    is_gated: bool
    has_qk_norms: bool
    gate: Literal["scalar", "vector"]


@dataclass(frozen=True)
class Inline:
    """Picture tokens take positions in the sequence, like words.

    `cut_at`: the authors cut longer sequences at their end; None where they do not. `pictures`: how many a prompt may
    hold; None for any number.
    """

    cut_at: int | None = None
    pictures: int | None = None


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
    def picture_width(self) -> int:
        """Width of the tokens that the decoder gets."""
        return self.connector.out_width if self.connector else self.tower.width

    def tokens_of(self, size: tuple[int, int]) -> int:
        """How many tokens a picture of this size, (width, height) in pixels, becomes."""
        if self.patching:
            return self.patching.tokens(size)
        return self.tiling.tokens(size) if self.tiling else self.tokens_per_view
