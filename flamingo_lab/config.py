"""What a model is made of, as data: one frozen dataclass a part. Needs no torch.

A mechanism of the core is one field here and the few lines in `nn/` that read it; a family fills the fields from its
published `config.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from flamingo_lab.pixels import Pipeline
from flamingo_lab.render import Markup, Wording
from flamingo_lab.tokens import Tokenizer
from flamingo_lab.weights import Rules

Activation = Literal["gelu", "relu", "silu"]

BUNDLED = Path(__file__).parent / "bundled"
"""Where models that this package ships have their folders."""


@dataclass(frozen=True)
class Tower:
    """A vision transformer in CLIP's form: class token, norm before the layers, learned positions.

    The last layer's tokens are read, the class token included, before the norm that follows it.
    """

    image_px: int
    patch_px: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    activation: Activation = "gelu"
    norm_eps: float = 1e-5

    @property
    def tokens(self) -> int:
        """Tokens of one picture, the class token included."""
        return (self.image_px // self.patch_px) ** 2 + 1


@dataclass(frozen=True)
class Resampler:
    """A perceiver resampler (arXiv 2204.14198, section 3.1): `latents` tokens a picture, whatever its size."""

    width: int
    depth: int
    heads: int
    head_width: int
    latents: int
    mlp_width: int
    has_qk_norms: bool
    activation: Activation = "relu"
    norm_eps: float = 1e-5


@dataclass(frozen=True)
class Decoder:
    """A pre-norm causal decoder: RMS norms, rotary positions, gated MLP.

    `extra_vocab` rows are held apart from the frozen vocabulary and follow it in the ids (decoupled embeddings).
    """

    vocab: int
    extra_vocab: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    positions: int
    activation: Activation = "silu"
    norm_eps: float = 1e-6
    rotary_base: float = 10_000.0
    ties_embeddings: bool = False


@dataclass(frozen=True)
class Cross:
    """Gated cross-attention blocks before the decoder layers named by `layers`.

    `kv_width` is the width of the picture tokens; a `scalar` gate is one number a branch, a `vector` gate one a channel.
    """

    layers: tuple[int, ...]
    kv_width: int
    has_qk_norms: bool
    gate: Literal["scalar", "vector"]


@dataclass(frozen=True)
class Architecture:
    """The whole model. Without a connector the tower's own tokens are what the decoder attends to."""

    tower: Tower
    connector: Resampler | None
    decoder: Decoder
    join: Cross

    @property
    def tokens_per_image(self) -> int:
        """Tokens that the decoder can attend to for one picture."""
        return self.connector.latents if self.connector else self.tower.tokens


@dataclass(frozen=True)
class Size:
    """A listed model: its name, where it is published, and how many parameters it is published to have.

    `bundled`: its folder in `BUNDLED`, where this package ships it. `config` gives the published layout where no file is at
    hand, so that the full-size model can be built on the meta device.
    """

    name: str
    parameters: int
    config: Mapping[str, Any]
    wording: str
    hub: str | None = None
    bundled: str | None = None
    licence: str = ""


@dataclass(frozen=True)
class Family:
    """All that makes a family of published checkpoints: data and small functions of its `config.json`. No forward pass.

    `architecture` takes config.json and the published shapes by name; `pipeline` takes preprocessor_config.json;
    `wording` names one of `wordings` for a checkpoint, from what its tokenizer knows; `stop_tokens` are by wording;
    `parts` names the further folders that a family keeps parts in.
    """

    name: str
    title: str
    paper: str
    matches: Callable[[Mapping[str, Any]], bool]
    architecture: Callable[[Mapping[str, Any], Mapping[str, tuple[int, ...]]], Architecture]
    rules: Callable[[Architecture], Rules]
    pipeline: Callable[[Mapping[str, Any], Architecture], Pipeline]
    markup: Markup
    wordings: Mapping[str, Wording]
    wording: Callable[[Tokenizer], str]
    stop_tokens: Mapping[str, tuple[str, ...]]
    forbidden: tuple[str, ...]
    sizes: tuple[Size, ...]
    parts: tuple[str, ...] = ()

    def built(self, size: Size) -> Architecture:
        """The architecture of a listed size, without its files."""
        return self.architecture(size.config, {})
