"""Published layouts that several families share: how a part's `config.json` and tensor names read."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from flamingo_lab.config import Activation, Decoder, Rotary
from flamingo_lab.errors import BadConfig

ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "relu2": "relu_squared",
    "silu": "silu",
    "swish": "silu",
}
"""Our names of the activations that a `config.json` may name."""


@contextmanager
def reading(what: str) -> Generator[None]:
    """Turn a key that a configuration lacks into one clear line."""
    try:
        yield
    except KeyError as error:
        raise BadConfig(f"{what}: {error} is missing or not a known value") from None


def activation(name: str) -> Activation:
    """A published activation that the core has."""
    if name not in ACTIVATIONS:
        raise BadConfig(f"config.json: the activation {name!r} is none of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def rotary(config: Mapping[str, Any], head_width: int, *, base: float = 10_000.0, fraction: float = 1.0) -> Rotary:
    """The rotary positions of a `config.json`; `base` and `fraction` where it is silent.

    Transformers 5 writes `rope_parameters`, where earlier releases had `rope_theta` and `rope_scaling`. Only linear scaling
    is known: with the others an answer's first tokens and its later ones would be turned by different angles.
    """
    new = config.get("rope_parameters") or {}
    scaling = config.get("rope_scaling") or new
    for held in (new, scaling):
        if not isinstance(held, Mapping):
            raise BadConfig(f"config.json: {held!r} does not describe rotary positions; an object is expected")
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    if kind not in ("default", "linear"):
        raise BadConfig(f"config.json: scaling of rotary positions by {kind!r} is not known; linear is")
    fraction = new.get("partial_rotary_factor", fraction)
    if int(head_width * fraction) % 2:
        raise BadConfig(f"config.json: {fraction} of heads {head_width} wide is odd; rotary positions need pairs")
    stretch = float(scaling["factor"]) if kind == "linear" else 1.0
    return Rotary(new.get("rope_theta", config.get("rope_theta", base)), fraction, stretch=stretch)


def refuse(config: Mapping[str, Any], known: Mapping[str, Any], what: str) -> None:
    """Raise `BadConfig` for the first of these keys that has another value than the one that the core knows."""
    for key, value in known.items():
        held = config.get(key, value)
        if held != value:
            raise BadConfig(f"{what}: {key} is {held!r}; only {value!r} is known")


def repeated(built: Decoder, *heads: str) -> tuple[str, ...]:
    """The heads that a file may repeat although they are the embedding, as its `tie_word_embeddings` says."""
    return heads if built.ties_embeddings else ()
