"""Published tensor names against our parameters: rules as data, strict both ways.

A rule is a pair of patterns. `{n}` stands for a number that is carried over, `{a|b}` for alternatives that are matched
in order with those at the same place in the other pattern:

    ("model.layers.{n}.self_attn.{q|k|v|o}_proj.weight", "decoder.layers.{n}.attention.{q|k|v|out}.weight")

Where the layouts differ, a rule names a step that turns the published tensor into ours, or into several of ours:

    Split("attn.Wqkv.weight", ("attention.q.weight", "attention.k.weight", "attention.v.weight"), thirds)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from flamingo_lab.errors import BadCheckpoint

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from flamingo_lab.checkpoint import Entry, Tensors

Step = Callable[["Tensor"], Sequence["Tensor"]]
"""One published tensor to ours, in the order of the rule's names. Acts on meta tensors too, so shapes are known early."""


class Split(NamedTuple):
    """A rule with a step: the published name's pattern, ours, and what makes the one into the others."""

    published: str
    ours: tuple[str, ...]
    step: Step


Rule = tuple[str, str] | Split


@dataclass(frozen=True)
class Target:
    """What a published tensor becomes: names of our parameters, and the step, None where it stays as it is."""

    names: tuple[str, ...]
    step: Step | None

    def apply(self, tensor: Tensor) -> Sequence[Tensor]:
        """Our tensors, in the order of `names`."""
        return [tensor] if self.step is None else self.step(tensor)


class Rules:
    """Both directions between published names and our parameter names.

    `surplus` are patterns of published tensors that are known and not part of the model (buffers, for example); `*` in
    them stands for anything.
    """

    def __init__(self, rules: Sequence[Rule], surplus: Sequence[str] = ()) -> None:
        plain = [pair for rule in rules for pair in _alternatives(rule)]
        self._to_ours = [(_pattern(rule.published), rule) for rule in plain]
        self._to_published = [(_pattern(ours), rule.published) for rule in plain for ours in rule.ours]
        self._surplus = [_pattern(pattern) for pattern in surplus]

    def ours(self, published: str) -> Target | None:
        """What a published tensor becomes, None for an unknown one."""
        for pattern, rule in self._to_ours:
            if match := pattern.fullmatch(published):
                names = tuple(_numbered(ours, match.groups()) for ours in rule.ours)
                return Target(names, rule.step)
        return None

    def published(self, ours: str) -> str | None:
        """The published name of one of our parameters."""
        for pattern, published in self._to_published:
            if match := pattern.fullmatch(ours):
                return _numbered(published, match.groups())
        return None

    def is_surplus(self, published: str) -> bool:
        """Whether the tensor is known not to belong to the model."""
        return any(pattern.fullmatch(published) for pattern in self._surplus)


Source = tuple["Tensors", Rules]
"""Published tensors with the rules that name them."""


@dataclass(frozen=True)
class Matched:
    """Published tensors against a model's parameters, from headers alone.

    `fills`: for each source, what its tensors fill. `faults`: one line for each tensor without a place, of another shape
    than the configuration asks for, or that fills a parameter twice, and for each parameter that nothing fills.
    """

    fills: Sequence[Mapping[str, Target]]
    faults: Sequence[str]


def check(model: nn.Module, sources: Sequence[Source]) -> Sequence[Mapping[str, Target]]:
    """For each source what its tensors fill. Raises `BadCheckpoint` with the first fault, if there is any."""
    matched = match(model, sources)
    if matched.faults:
        more = len(matched.faults) - 1
        raise BadCheckpoint(matched.faults[0] + (f" (and {more} more: flab check lists them)" if more else ""))
    return matched.fills


def match(model: nn.Module, sources: Sequence[Source]) -> Matched:
    """All tensors against all parameters."""
    wanted = {name: tuple(tensor.shape) for name, tensor in held(model).items()}
    fills: list[dict[str, Target]] = []
    faults: list[str] = []
    filled: set[str] = set()
    for tensors, rules in sources:
        of_source: dict[str, Target] = {}
        for published, entry in tensors.items():
            if rules.is_surplus(published):
                continue
            target = rules.ours(published)
            fault = _fault(published, entry, target, wanted, filled)
            if fault or target is None:
                faults.append(f"{entry.file}: {fault}")
            else:
                of_source[published] = target
            filled.update(target.names if target else ())
        fills.append(of_source)
    for name in (name for name in wanted if name not in filled):
        folder, published = next(
            ((tensors.folder, known) for tensors, rules in sources if (known := rules.published(name))),
            (sources[0][0].folder, name),
        )
        faults.append(f"{folder}: tensor {published} {list(wanted[name])} is missing")
    return Matched(fills, faults)


def _fault(
    published: str, entry: Entry, target: Target | None, wanted: Mapping[str, tuple[int, ...]], filled: set[str]
) -> str | None:
    """What is wrong with a tensor, None if nothing is."""
    import torch

    if target is None or any(name not in wanted for name in target.names):
        reason = "no rule names it" if target is None else "the model that config.json describes has no such part"
        return f"unknown tensor {published} {list(entry.shape)}: {reason}"
    if not entry.dtype.is_floating_point:
        return f"tensor {published} has dtype {entry.dtype}; a float is expected"
    shapes = [wanted[name] for name in target.names]
    try:
        found = [tuple(part.shape) for part in target.apply(torch.empty(entry.shape, device="meta"))]
    except (RuntimeError, ValueError):  # a shape that the step cannot take apart
        found = []
    if found != shapes:
        asked = " and ".join(str(list(shape)) for shape in dict.fromkeys(shapes))
        as_what = f" as {len(shapes)} parts" if len(shapes) > 1 else ""
        return f"tensor {published} has shape {list(entry.shape)}; config.json asks for {asked}{as_what}"
    twice = next((name for name in target.names if name in filled), None)
    return f"tensor {published} fills {twice} a second time" if twice else None


Own = Callable[[str, "Tensor"], "Tensor | None"]
"""What is kept of our tensor of this name, None for nothing."""

Laid = Callable[[str, "Tensor"], "Tensor"]
"""Our tensor of this name, laid out in memory as it is used."""


def fill(
    model: nn.Module,
    sources: Sequence[Source],
    *,
    dtype: torch.dtype,
    device: torch.device,
    own: Own = lambda name, whole: whole,
    laid: Laid = lambda name, weight: weight,
) -> None:
    """Fill a model built on the meta device, in place.

    A tensor that needs no conversion stays a view of its file; one that does is converted, and its source pages are
    given back before the next one is read. What `own` keeps nothing of stays on the meta device; `laid`: how it lies in
    memory.
    """
    from flamingo_lab.checkpoint import release

    for (tensors, _), fills in zip(sources, check(model, sources), strict=True):
        for published, tensor in tensors.tensors():
            if published not in fills:
                continue
            is_view = False
            for ours, whole in zip(fills[published].names, fills[published].apply(tensor), strict=True):
                part = own(ours, whole)
                if part is None:
                    continue
                converted = part.to(device=device, dtype=dtype)
                kept = laid(ours, converted)
                put(model, ours, kept)
                is_view |= (
                    kept is converted and converted.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
                )
            if not is_view:
                release(tensor)


def put(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Make a tensor the parameter, or the kept buffer, of this name."""
    from torch import nn

    path, _, own = name.rpartition(".")
    owner = model.get_submodule(path)
    is_buffer = own in dict(owner.named_buffers(recurse=False))
    setattr(owner, own, tensor if is_buffer else nn.Parameter(tensor, requires_grad=False))


def held(model: nn.Module) -> dict[str, Tensor]:
    """All that files fill: the parameters, and the buffers that are kept with them."""
    kept = model.state_dict().keys()
    return dict(model.named_parameters()) | {name: one for name, one in model.named_buffers() if name in kept}


def publish(model: nn.Module, rules: Sequence[Rules]) -> dict[str, Tensor]:
    """The model's parameters under their published names; only for layouts without steps."""
    return {published_name(rules, name): parameter.detach() for name, parameter in model.named_parameters()}


def published_name(rules: Sequence[Rules], ours: str) -> str:
    """The published name, which every parameter must have."""
    for one in rules:
        if published := one.published(ours):
            return published
    raise BadCheckpoint(f"parameter {ours} has no published name; a rule is missing")


def inside(published: str, ours: str, rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """The rules of a part, at its place in a whole."""
    return tuple(
        Split(f"{published}.{rule.published}", tuple(f"{ours}.{name}" for name in rule.ours), rule.step)
        if isinstance(rule, Split)
        else (f"{published}.{rule[0]}", f"{ours}.{rule[1]}")
        for rule in rules
    )


def halves(tensor: Tensor) -> Sequence[Tensor]:
    """Two equal parts, one above the other."""
    return tensor.chunk(2)


def thirds(tensor: Tensor) -> Sequence[Tensor]:
    """Three equal parts, one above the other: queries, keys and values of all heads."""
    return tensor.chunk(3)


def of_heads(heads: int) -> Step:
    """Queries, keys and values that follow one another head by head (Megatron's order)."""

    def split(tensor: Tensor) -> Sequence[Tensor]:
        by_head = tensor.unflatten(0, (heads, 3, -1))
        return [by_head[:, part].flatten(0, 1) for part in range(3)]

    return split


def first_rows(count: int) -> Step:
    """The first rows, where the authors' loader cuts a padded vocabulary."""
    return lambda tensor: [tensor[:count]]


def transposed(tensor: Tensor) -> Sequence[Tensor]:
    """A matrix that its authors multiply from the other side."""
    return [tensor.T]


class _Plain(NamedTuple):
    """A rule without alternatives."""

    published: str
    ours: tuple[str, ...]
    step: Step | None


def _alternatives(rule: Rule) -> Iterator[_Plain]:
    """The rule once for each choice of its alternatives."""
    step = rule.step if isinstance(rule, Split) else None
    texts = (rule.published, *rule.ours) if isinstance(rule, Split) else rule
    sides = [re.split(r"\{([^{}]*\|[^{}]*)\}", side) for side in texts]
    choices = [[text.split("|") for text in side[1::2]] for side in sides]
    for picks in itertools.product(*(range(len(options)) for options in choices[0])):
        chosen = [
            "".join(
                text if place % 2 == 0 else choices[number][place // 2][picks[place // 2]]
                for place, text in enumerate(side)
            )
            for number, side in enumerate(sides)
        ]
        yield _Plain(chosen[0], tuple(chosen[1:]), step)


NUMBER = "{n}"


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(re.escape(NUMBER), r"(\d+)").replace(r"\*", r".*"))


def _numbered(name: str, numbers: Sequence[str]) -> str:
    for number in numbers:
        name = name.replace(NUMBER, number, 1)
    return name
