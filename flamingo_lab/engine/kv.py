"""Keys and values of the text so far: of shared beginnings, once each, and of every sequence's own end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from flamingo_lab.config import Alibi, Decoder
from flamingo_lab.nn.attention import CAUSAL, Causal, Heads, attend, attend_to_part, join
from flamingo_lab.nn.positions import alibi_bias, band, slopes

Mask = Tensor | Causal | None


class Span(NamedTuple):
    """Where a sequence's tokens stand: its first position, and how many there are."""

    first: int
    tokens: int


@dataclass
class Level:
    """Beginnings that were computed side by side, each for all sequences that share it.

    heads: one (N, G, S, d) pair a layer, each beginning's tokens followed by padding; spans: where they stand.
    """

    spans: Sequence[Span]
    device: torch.device
    heads: list[Heads] = field(default_factory=list[Heads])

    @property
    def tokens(self) -> int:
        """How many tokens' keys and values it holds, padding included."""
        return len(self.spans) * max(span.tokens for span in self.spans)

    @cached_property
    def keys(self) -> Tensor:
        """(N, S) int: positions of the keys."""
        first = torch.tensor([span.first for span in self.spans], device=self.device)
        return first[:, None] + torch.arange(max(span.tokens for span in self.spans), device=self.device)

    @cached_property
    def real(self) -> Tensor | None:
        """(N, S) bool: which keys are no padding; None where all are real."""
        counts = torch.tensor([span.tokens for span in self.spans], device=self.device)
        most = int(counts.max())
        return None if bool((counts == most).all()) else torch.arange(most, device=self.device) < counts[:, None]


class Groups:
    """Which of N groups each token of a pass (R, T) belongs to, so that a group's tokens are one product with its keys."""

    def __init__(self, of_token: Sequence[int] | Tensor, count: int, tokens: int, device: torch.device) -> None:
        """of_token (R * T): each token's group, -1 for none; tokens: T."""
        groups = torch.as_tensor(of_token)
        order = groups.argsort(stable=True)
        sizes = torch.bincount(groups + 1, minlength=count + 1)
        order, sizes = order[int(sizes[0]) :], sizes[1:]
        most = int(sizes.max())
        starts = sizes.cumsum(0) - sizes
        sorted_groups = groups[order]
        places = sorted_groups * most + torch.arange(len(order)) - starts[sorted_groups]
        index = torch.zeros(count * most, dtype=torch.long)
        index[places] = order
        back = torch.full((len(groups),), count * most)
        back[order] = places
        self._is_plain = torch.equal(index, torch.arange(len(groups)))
        self._has_none = len(order) < len(groups)
        self._index, self._back = index.to(device), back.to(device)
        self._count, self._tokens = count, tokens

    def gather(self, x: Tensor) -> Tensor:
        """(R, H, T, d) -> (N, H, M, d), M being the largest group's tokens."""
        flat = x.transpose(1, 2).flatten(0, 1)
        if not self._is_plain:
            flat = flat.index_select(0, self._index)
        return flat.unflatten(0, (self._count, -1)).transpose(1, 2)

    def gather_positions(self, positions: Tensor) -> Tensor:
        """(R, T) -> (N, M)."""
        return positions.flatten()[self._index].unflatten(0, (self._count, -1))

    def scatter(self, x: Tensor, nothing: float) -> Tensor:
        """(N, H, M, ...) -> (R, H, T, ...), with `nothing` for tokens of no group."""
        flat = x.transpose(1, 2).flatten(0, 1)
        if self._has_none:
            flat = torch.cat((flat, flat.new_full((1, *flat.shape[1:]), nothing)))
        if not self._is_plain:
            flat = flat.index_select(0, self._back)
        return flat.unflatten(0, (-1, self._tokens)).transpose(1, 2)


class Own(Protocol):
    """Where the keys and values of a pass' own tokens go."""

    def keep(self, layer: int, new: Heads) -> Heads:
        """All keys and values that each sequence has for itself, the new ones (R, G, T, d) last."""
        ...


class Nowhere:
    """Nothing is asked behind these tokens."""

    def keep(self, layer: int, new: Heads) -> Heads:
        """See `Own`."""
        return new


class Fresh:
    """Into a level."""

    def __init__(self, level: Level) -> None:
        self._level = level

    def keep(self, layer: int, new: Heads) -> Heads:
        """See `Own`."""
        self._level.heads.append(new)
        return new


class Slots:
    """Buffers of `rows` sequences with room for `columns` own tokens each; the first `len(lengths)` of them are in use."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows, self.columns = rows, columns
        self.lengths: list[int] = []
        self._heads: list[Heads] = []

    def write(self, layer: int, first: int, new: Heads) -> None:
        """Keep new (R, G, T, d) from slot `first` on, from each slot's beginning."""
        end, tokens = first + new.keys.shape[0], new.keys.shape[2]
        held = self._layer(layer, new)
        held.keys[first:end, :, :tokens] = new.keys
        held.values[first:end, :, :tokens] = new.values

    def append(self, layer: int, new: Heads) -> Heads:
        """Keep one more token a slot, new (R, G, 1, d), and give all that is held, padding included."""
        held = self._layer(layer, new)
        rows, longest = len(self.lengths), max(self.lengths)
        if longest == min(self.lengths):
            held.keys[:rows, :, longest] = new.keys[:, :, 0]
            held.values[:rows, :, longest] = new.values[:, :, 0]
        else:
            row, column = torch.arange(rows), torch.tensor(self.lengths)
            held.keys[row, :, column] = new.keys[:, :, 0]
            held.values[row, :, column] = new.values[:, :, 0]
        return Heads(held.keys[:rows, :, : longest + 1], held.values[:rows, :, : longest + 1])

    def move(self, sources: Sequence[int], targets: Sequence[int]) -> None:
        """What slots `sources` hold goes into slots `targets`, all at once."""
        moves = [(source, target) for source, target in zip(sources, targets, strict=True) if source != target]
        if not moves:
            return
        lengths = [self.lengths[source] for source, _ in moves]
        columns = max(lengths)
        for (_, target), length in zip(moves, lengths, strict=True):
            self.lengths[target] = length
        for held in self._heads if columns else ():
            come, go = (torch.tensor(slots, device=held.keys.device) for slots in zip(*moves, strict=True))
            for part in held:
                part[go, :, :columns] = part[come, :, :columns]

    def _layer(self, layer: int, new: Heads) -> Heads:
        if layer == len(self._heads):
            heads, width = new.keys.shape[1], new.keys.shape[3]
            # Zeros, since what is masked still is multiplied by nothing, and may be anything but infinite.
            empty = (new.keys.new_zeros(self.rows, heads, self.columns, width) for _ in range(2))
            self._heads.append(Heads(*empty))
        return self._heads[layer]


class IntoSlots:
    """Prompts' own ends, from slot `first` on."""

    def __init__(self, slots: Slots, first: int) -> None:
        self._slots, self._first = slots, first

    def keep(self, layer: int, new: Heads) -> Heads:
        """See `Own`."""
        self._slots.write(layer, self._first, new)
        return new


class Further:
    """One more token for every slot in use."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots

    def keep(self, layer: int, new: Heads) -> Heads:
        """See `Own`."""
        return self._slots.append(layer, new)


class Read(NamedTuple):
    """A level that a pass reads, by whom, and what of it they see."""

    level: Level
    groups: Groups
    mask: Mask


@dataclass(frozen=True)
class Memory:
    """A decoder's memory for one pass."""

    own: Own
    mask: Mask
    reads: Sequence[Read] = ()

    def attend(self, layer: int, queries: Tensor, new: Heads) -> Tensor:
        """See `nn.decoder.Memory`."""
        own = self.own.keep(layer, new)
        if not self.reads:
            return attend(queries, own.keys, own.values, self.mask)
        parts = [attend_to_part(queries, own.keys, own.values, self.mask)]
        for level, groups, mask in self.reads:
            seen, weight = attend_to_part(groups.gather(queries), *level.heads[layer], mask)
            parts.append(type(parts[0])(groups.scatter(seen, 0.0), groups.scatter(weight, -torch.inf)))
        return join(parts)


def own_mask(config: Decoder, positions: Tensor) -> Mask:
    """What new tokens at positions (R, T) see of each other, padding behind them."""
    tokens = positions.shape[1]
    if isinstance(config.place, Alibi):
        bias = alibi_bias(positions, positions, slopes(config.place, config.heads, config.share))
        return bias.masked_fill(torch.ones(tokens, tokens, dtype=torch.bool, device=bias.device).triu(1), -torch.inf)
    if config.window is not None and tokens > config.window:
        return band(tokens, config.window, positions.device)
    return CAUSAL


def further_mask(config: Decoder, positions: Tensor, lengths: Sequence[int]) -> Mask:
    """What one more token at positions (R, 1) sees of its slot, which holds so many tokens before it."""
    held = torch.tensor(lengths, device=positions.device)[:, None]
    columns = torch.arange(max(lengths) + 1, device=positions.device)
    real = None if min(lengths) == max(lengths) else columns <= held
    return seen(config, positions, positions - held + columns, real)


def read(config: Decoder, level: Level, groups: Groups, positions: Tensor) -> Read:
    """A level as tokens at positions (R, T) read it."""
    needs_positions = isinstance(config.place, Alibi) or config.window is not None
    of_groups = groups.gather_positions(positions) if needs_positions else positions
    return Read(level, groups, seen(config, of_groups, level.keys, level.real))


def seen(config: Decoder, queries: Tensor, keys: Tensor, real: Tensor | None) -> Mask:
    """What queries at positions (N, M) see of keys at (N, S) before them, of which `real` (N, S) are no padding."""
    if isinstance(config.place, Alibi):
        bias = alibi_bias(queries, keys, slopes(config.place, config.heads, config.share))
        return bias if real is None else bias.masked_fill(~real[:, None, None], -torch.inf)
    window = config.window
    if window is not None and int(queries.max() - keys.min()) >= window:
        near = queries[..., None] - keys[:, None] < window
        return (near if real is None else near & real[:, None])[:, None]
    return None if real is None else real[:, None, None]
