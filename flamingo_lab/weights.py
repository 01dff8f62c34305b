"""Published tensor names against our parameters: rules as data, strict both ways.

A rule is a pair of patterns. `{n}` stands for a number that is carried over, `{a|b}` for alternatives that are matched
in order with those at the same place in the other pattern:

    ("model.layers.{n}.self_attn.{q|k|v|o}_proj.weight", "decoder.layers.{n}.attention.{q|k|v|out}.weight")
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from flamingo_lab.errors import BadCheckpoint

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from flamingo_lab.checkpoint import Checkpoint

Rule = tuple[str, str]

NUMBER = "{n}"


class Rules:
    """Both directions between published names and our parameter names.

    `surplus` are patterns of published tensors that are known and not part of the model (buffers, for example).
    """

    def __init__(self, rules: Sequence[Rule], surplus: Sequence[str] = ()) -> None:
        plain = [pair for rule in rules for pair in _alternatives(rule)]
        self._to_ours = [(_pattern(published), ours) for published, ours in plain]
        self._to_published = [(_pattern(ours), published) for published, ours in plain]
        self._surplus = [_pattern(pattern) for pattern in surplus]

    def ours(self, published: str) -> str | None:
        """Our parameter's name, None for an unknown tensor."""
        return _renamed(published, self._to_ours)

    def published(self, ours: str) -> str | None:
        """The published name of one of our parameters."""
        return _renamed(ours, self._to_published)

    def is_surplus(self, published: str) -> bool:
        """Whether the tensor is known not to belong to the model."""
        return any(pattern.fullmatch(published) for pattern in self._surplus)


def check(model: nn.Module, checkpoint: Checkpoint, rules: Rules) -> dict[str, str]:
    """The parameter that each published tensor fills, from headers alone.

    Raises `BadCheckpoint` at the first tensor without a rule, of another shape than the configuration asks for, or that
    fills a parameter twice, and at the first parameter that nothing fills.
    """
    wanted = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    fills: dict[str, str] = {}
    filled: set[str] = set()
    for published, entry in checkpoint.items():
        if rules.is_surplus(published):
            continue
        ours = rules.ours(published)
        if ours is None or ours not in wanted:
            reason = "no rule names it" if ours is None else "the model that config.json describes has no such part"
            raise BadCheckpoint(f"{entry.file}: unknown tensor {published} {list(entry.shape)}: {reason}")
        if entry.shape != wanted[ours]:
            raise BadCheckpoint(
                f"{entry.file}: tensor {published} has shape {list(entry.shape)}; config.json asks for {list(wanted[ours])}"
            )
        if ours in filled:
            raise BadCheckpoint(f"{entry.file}: tensor {published} fills {ours} a second time")
        if not entry.dtype.is_floating_point:
            raise BadCheckpoint(f"{entry.file}: tensor {published} has dtype {entry.dtype}; a float is expected")
        fills[published] = ours
        filled.add(ours)
    missing = wanted.keys() - filled
    if missing:
        first = next(name for name in wanted if name in missing)
        shape = list(wanted[first])
        raise BadCheckpoint(
            f"{checkpoint.folder}: tensor {rules.published(first)} {shape} is missing ({len(missing)} in all)"
        )
    return fills


def fill(model: nn.Module, checkpoint: Checkpoint, rules: Rules, *, dtype: torch.dtype, device: torch.device) -> None:
    """Fill a model built on the meta device, in place.

    A tensor that needs no conversion stays a view of its file; one that does is converted, and its source pages are
    given back before the next one is read.
    """
    from torch import nn

    from flamingo_lab.checkpoint import release

    fills = check(model, checkpoint, rules)
    for published, tensor in checkpoint.tensors():
        if published not in fills:
            continue
        owner, _, name = fills[published].rpartition(".")
        converted = tensor.to(device=device, dtype=dtype)
        setattr(model.get_submodule(owner), name, nn.Parameter(converted, requires_grad=False))
        if converted.data_ptr() != tensor.data_ptr():
            release(tensor)


def publish(model: nn.Module, rules: Rules) -> dict[str, Tensor]:
    """The model's parameters under their published names."""
    return {published_name(rules, name): parameter.detach() for name, parameter in model.named_parameters()}


def published_name(rules: Rules, ours: str) -> str:
    """The published name, which every parameter must have."""
    published = rules.published(ours)
    if published is None:
        raise BadCheckpoint(f"parameter {ours} has no published name; a rule is missing")
    return published


def _alternatives(rule: Rule) -> Iterator[Rule]:
    """The rule once for each choice of its alternatives."""
    sides = [re.split(r"\{([^{}]*\|[^{}]*)\}", side) for side in rule]
    choices = [[text.split("|") for text in side[1::2]] for side in sides]
    for picks in itertools.product(*(range(len(options)) for options in choices[0])):
        chosen = [
            "".join(
                text if place % 2 == 0 else choices[number][place // 2][picks[place // 2]]
                for place, text in enumerate(side)
            )
            for number, side in enumerate(sides)
        ]
        yield chosen[0], chosen[1]


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(re.escape(NUMBER), r"(\d+)").replace(r"\*", r".*"))


def _renamed(name: str, rules: Sequence[tuple[re.Pattern[str], str]]) -> str | None:
    for pattern, other in rules:
        if match := pattern.fullmatch(name):
            for number in match.groups():
                other = other.replace(NUMBER, number, 1)
            return other
    return None
