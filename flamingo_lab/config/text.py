"""Text: the decoder, and how pictures come into it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from flamingo_lab.config.kinds import Activation, Norm, check_counts, check_few, check_numbers


@dataclass(frozen=True)
class Rotary:
    """Rotary positions on the first `fraction` of each head (arXiv 2104.09864), in halves as LLaMA lays them out.

    `ntk_length`: prompts longer than that stretch the base, by a factor that their length fixes (dynamic NTK, Qwen).
    `stretch`: what positions are divided by (linear scaling, arXiv 2306.15595).
    """

    base: float = 10_000.0
    fraction: float = 1.0
    ntk_length: int | None = None
    stretch: float = 1.0

    def __post_init__(self) -> None:
        check_numbers(rotary_base=self.base, rotary_share=self.fraction, rotary_factor=self.stretch)
        check_counts(length=self.ntk_length)


@dataclass(frozen=True)
class Alibi:
    """Linear biases by distance (arXiv 2108.12409). `slopes`: how they are spread where heads are no power of two.

    "plain" uses the formula as it stands; "interleaved" takes the next power of two's, the odd ones first.
    """

    max_bias: float = 8.0
    slopes: Literal["plain", "interleaved"] = "plain"


@dataclass(frozen=True)
class Experts:
    """Several feed-forward branches in place of one in the decoder layers `layers`; each token takes `chosen` of them.

    `counts`: how many there are in each of these layers. A sequence of S tokens has `chosen` S / count * `capacity_factor`
    places with each of them, rounded up, and at least `min_capacity`; a token that finds none goes on without. `has_common`:
    whether a branch that every token takes stands beside them, each token weighing the two. `balance_weight`: what the loss
    that spreads tokens over the experts counts in training. `noise_seed`: the authors' noise on the second choice, drawn
    anew for every request; None leaves it out.
    """

    layers: tuple[int, ...]
    counts: tuple[int, ...]
    capacity_factor: float
    min_capacity: int
    balance_weight: float = 0.0
    noise_seed: int | None = None
    chosen: Literal[1, 2] = 2
    has_common: bool = False

    def __post_init__(self) -> None:
        check_numbers(capacity_factor=self.capacity_factor, min_capacity=self.min_capacity)
        for count in self.counts:
            check_few(experts=count)


@dataclass(frozen=True)
class Decoder:
    """A pre-norm causal decoder.

    `extra_vocab` rows are held apart from the frozen vocabulary and follow it in the ids (decoupled embeddings).
    `is_parallel`: both branches of a layer read its input and are added together, behind one norm (Phi) or each behind its
    own (`has_two_norms`, GPT-NeoX).
    `qk_norm`: whether queries and keys are normalised, each head by itself or over the whole width. `qkv_limit`: what no
    number of queries, keys and values may be beyond, on either side of zero (MPT).
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
    has_two_norms: bool = True
    has_qkv_bias: bool = False
    has_out_bias: bool = False
    has_mlp_bias: bool = False
    qk_norm: Literal["head", "width"] | None = None
    qkv_limit: float | None = None
    place: Rotary | Alibi = Rotary()
    window: int | None = None
    log_n_length: int | None = None
    ties_embeddings: bool = False
    experts: Experts | None = None
    share: tuple[int, int] = field(default=(0, 1), repr=False)

    def __post_init__(self) -> None:
        check_few(layers=self.layers)
        check_counts(
            vocab=self.vocab,
            width=self.width,
            heads=self.heads,
            head_width=self.head_width,
            key_value_heads=self.kv_heads,
            mlp_width=self.mlp_width,
            positions=self.positions,
            window=self.window,
            log_n_length=self.log_n_length,
        )
        check_numbers(norm_eps=self.norm_eps, qkv_limit=self.qkv_limit)

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
