"""The sequences that are going on side by side: a token for each, step by step, until their searches are over."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flamingo_lab.engine.kv import IntoSlots, Slots
from flamingo_lab.engine.passes import Layout, Passes, Row
from flamingo_lab.engine.search import Chain, Next, Search
from flamingo_lab.engine.tree import Leaf, Node
from flamingo_lab.markup import NONE
from flamingo_lab.model import Answer
from flamingo_lab.prompt import Image

Answered = tuple[Leaf, Answer]


@dataclass(eq=False)
class Open:
    """A job that is being answered: its search, its slots, and the tokens that come next in them."""

    leaf: Leaf
    searching: Search
    slots: list[int]
    above: tuple[Node, ...]
    position: int
    began: float
    branches: int = 1
    tokens: list[int] = field(default_factory=list[int])

    @property
    def row(self) -> Row:
        """What the job's slots hold the continuation of."""
        job = self.leaf.job
        return Row(job, job.sequence, job.sequence.padding, self.above)


class Running:
    """Jobs that are being answered, and the slots that hold their own tokens."""

    def __init__(self, passes: Passes, slots: Slots) -> None:
        self.slots = slots
        self.jobs: list[Open] = []
        self._passes = passes
        self._layout: Layout | None = None

    @property
    def free(self) -> int:
        """Slots that nobody has."""
        return self.slots.rows - len(self.slots.lengths)

    @property
    def looked_at(self) -> Iterator[Image]:
        """The pictures that the sequences look at across, which have to stay; one may come several times."""
        if self._passes.model.vlm.join:
            for one in self.jobs:
                sees = one.leaf.job.sees[-1]
                if sees != NONE:
                    yield one.leaf.job.rendered.images[sees]

    def enter(self, leaf: Leaf, above: tuple[Node, ...], began: float, own_tokens: int = 0) -> Open:
        """Give a job its slots, which hold `own_tokens` already, behind the beginnings `above`."""
        job = leaf.job
        first, count = len(self.slots.lengths), leaf.slots
        self.slots.lengths += [own_tokens] * count
        position = job.sequence.padding + len(job.ids)
        one = Open(leaf, job.search(), list(range(first, first + count)), above, position, began)
        self.jobs.append(one)
        self._layout = None
        return one

    def enter_prompts(self, leaves: Sequence[Leaf], began: float) -> tuple[list[Open], Tensor] | None:
        """Jobs that do not branch, their prompts' own ends computed into slots, and log-probabilities (R, V) behind each."""
        if not leaves:
            return None
        rows = [Row.of(leaf.job, leaf.first, len(leaf.job.ids), leaf.above) for leaf in leaves]
        self._passes.work.prompt_tokens_computed += sum(leaf.own_tokens for leaf in leaves)
        into = IntoSlots(self.slots, len(self.slots.lengths))
        behind = self._passes.logprobs(self._passes.ends(rows, into))
        return [self.enter(leaf, leaf.above, began, leaf.own_tokens) for leaf in leaves], behind

    def step(self) -> Iterator[Answered]:
        """One more token for every sequence."""
        with self._passes.work.stage("answers"):
            by_slot: list[tuple[Open, int]] = [(self.jobs[0], 0)] * len(self.slots.lengths)
            for one in self.jobs:
                for slot, token in zip(one.slots, one.tokens, strict=True):
                    by_slot[slot] = one, token
            if self._layout is None:
                self._layout = Layout.of(self._passes, [one.row for one, _ in by_slot])
            tokens = [token for _, token in by_slot]
            logprobs = self._layout.step(self._passes, self.slots, tokens, [one.position for one, _ in by_slot])
            for one in self.jobs:
                one.position += 1
            order = [slot for one in self.jobs for slot in one.slots[: one.branches]]
            if order != list(range(len(logprobs))):
                logprobs = logprobs[torch.tensor(order, device=logprobs.device)]
        yield from self.take(list(self.jobs), logprobs)

    def take(self, opens: Sequence[Open], logprobs: Tensor) -> Iterator[Answered]:
        """Let each search take its log-probabilities (its branches, V), which stand one after the other."""
        over: list[Open] = []
        with self._passes.work.stage("search"):
            sources: list[int] = []
            targets: list[int] = []
            for one, coming in zip(opens, _next(opens, logprobs), strict=True):
                if not coming.tokens:
                    over.append(one)
                    continue
                spare = len(one.slots) - len(coming.tokens)
                sources += [one.slots[parent] for parent in coming.parents]
                targets += one.slots[: len(coming.tokens)]
                one.tokens = [*coming.tokens, *[0] * spare]
                one.branches = len(coming.tokens)
            self.slots.move(sources, targets)
            if over:
                self._leave(over)
        for one in over:
            seconds = (time.perf_counter() - one.began) / max(1, len(self.jobs) + len(over))
            yield one.leaf, one.leaf.job.answer(**one.searching.found()._asdict(), seconds=seconds)

    def _leave(self, over: Sequence[Open]) -> None:
        """Free the slots of jobs that are over; those behind move up."""
        gone = {slot for one in over for slot in one.slots}
        kept = len(self.slots.lengths) - len(gone)
        holes = sorted(slot for slot in gone if slot < kept)
        movers = [slot for slot in range(kept, len(self.slots.lengths)) if slot not in gone]
        self.slots.move(movers, holes)
        del self.slots.lengths[kept:]
        moved = dict(zip(movers, holes, strict=True))
        leaving = set(map(id, over))
        self.jobs = [one for one in self.jobs if id(one) not in leaving]
        for one in self.jobs:
            one.slots = [moved.get(slot, slot) for slot in one.slots]
        self._layout = None


def _next(opens: Sequence[Open], logprobs: Tensor) -> Iterator[Next]:
    """What each search goes on with; the likeliest tokens are found for all chains at once."""
    starts = [0, *itertools.accumulate(one.branches for one in opens)]
    chains = [
        (row, one.searching)
        for row, one in zip(starts, opens, strict=False)
        if isinstance(one.searching, Chain) and one.searching.takes_likeliest
    ]
    best: dict[int, tuple[float, int]] = {}
    if chains:
        refused = [(row, token) for row, chain in chains for token in chain.refused()]
        allowed = logprobs
        if refused:
            allowed = logprobs.clone()
            rows, tokens = (torch.tensor(part, device=logprobs.device) for part in zip(*refused, strict=True))
            allowed[rows, tokens] = -torch.inf
        values, likeliest = allowed.max(-1)
        found = list(zip(values.tolist(), likeliest.tolist(), strict=True))
        best = {row: found[row] for row, _ in chains}
    for (row, end), one in zip(itertools.pairwise(starts), opens, strict=True):
        searching = one.searching
        if row in best and isinstance(searching, Chain):
            value, token = best[row]
            yield searching.take(token, value)
        else:
            yield searching.step(logprobs[row:end])
