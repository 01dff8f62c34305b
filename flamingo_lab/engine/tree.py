"""Which beginnings requests share: a prefix tree over token ids and pictures, so that each is computed once.

A position is keyed by its token together with the picture that stands there, or that the token may look at. Two pictures
behind equal text therefore never meet.
"""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from flamingo_lab.engine.kv import Level
from flamingo_lab.engine.plan import Job
from flamingo_lab.markup import NONE
from flamingo_lab.prompt import Image

LEAST_TOKENS = 8
"""A shared beginning shorter than that is not worth a part of its own in every attention."""

LEAST_SAVED = 64
"""Nor is one that saves fewer tokens in all."""

PICTURE_BITS = 32


@dataclass(eq=False)
class Node:
    """Positions `first` to `end` of a sequence, shared by several jobs, behind those of the nodes above it.

    `left`: jobs that are still to be answered. `level` and `group`: where its keys and values are, once computed.
    """

    job: Job
    first: int
    end: int
    left: int = 0
    level: Level | None = None
    group: int = 0
    leaves: list[Leaf] = field(default_factory=list["Leaf"])
    children: list[Node] = field(default_factory=list["Node"])


@dataclass(frozen=True, eq=False)
class Leaf:
    """A job, and the shared beginnings that it stands behind, the first one first."""

    job: Job
    above: tuple[Node, ...] = ()

    @property
    def first(self) -> int:
        """The first position that is the job's own."""
        return self.above[-1].end if self.above else 0

    @property
    def own_tokens(self) -> int:
        """Positions of the prompt that are the job's own."""
        return len(self.job.ids) - self.first

    @property
    def branches(self) -> bool:
        """Whether several sequences go on from the prompt."""
        return bool(self.job.options) or self.job.rows > 1

    @property
    def slots(self) -> int:
        """Sequences that are gone on with; options are not."""
        return 0 if self.job.options else self.job.rows

    @property
    def columns(self) -> int:
        """Own tokens that each of them has to hold."""
        if self.job.options:
            return 0
        return self.job.new_tokens + (0 if self.branches else self.own_tokens)

    def new_images(self, there: Container[Node] | None = None) -> Iterator[Image]:
        """Pictures that are needed to compute what of the prompt is not there yet, or that its end looks at.

        there: the nodes that are computed; None for those that are so now.
        """
        sequence, images = self.job.sequence, self.job.rendered.images
        missing = (node for node in self.above if (node.level is None if there is None else node not in there))
        first = next((node.first for node in missing), self.first)
        wanted = {fill.image for fill in sequence.fills if fill.position + fill.tokens > first}
        wanted |= {sees for sees in sequence.sees[first:] if sees != NONE}
        wanted |= {sees for option in self.job.options for sees in option.sees if sees != NONE}
        return (images[number] for number in sorted(wanted))

    def done(self) -> None:
        """Its job is answered; beginnings that nobody waits for are let go."""
        for node in self.above:
            node.left -= 1
            if not node.left:
                node.level = None


def leaves(jobs: Sequence[Job], *, shares: bool = True) -> list[Leaf]:
    """The jobs in the order in which they share most, those of one length side by side, the longest first.

    shares: whether beginnings may be shared at all; where tokens compete for places with experts, they depend on what
    comes behind them.
    """
    root = Node(jobs[0], 0, 0) if jobs else None
    if root is None:
        return []
    by_kind: dict[tuple[int, object], list[Job]] = {}
    for job in jobs:
        by_kind.setdefault((job.sequence.padding, job.stretch), []).append(job)
    for alike in by_kind.values():
        if shares and len(alike) > 1:
            _grow(root, alike)
        else:
            root.leaves += map(Leaf, alike)
    return list(_in_order(root))


def _grow(root: Node, jobs: Sequence[Job]) -> None:
    """Hang jobs below the root, behind the beginnings that are worth sharing."""
    pictures: dict[str, int] = {}
    keyed = sorted(((_key(job, pictures), job) for job in jobs), key=lambda pair: pair[0].tobytes())
    keys = [key for key, _ in keyed]
    common = np.zeros(len(keys), dtype=np.int64)
    common[1:] = [_common(before, after) for before, after in itertools.pairwise(keys)]
    waiting: list[tuple[int, int, tuple[Node, ...]]] = [(0, len(keys), ())]
    while waiting:
        low, high, above = waiting.pop()
        if high - low == 1:
            leaf = Leaf(keyed[low][1], above)
            (above[-1] if above else root).leaves.append(leaf)
            for node in above:
                node.left += 1
            continue
        shared = int(common[low + 1 : high].min())
        depth = above[-1].end if above else 0
        if shared - depth >= LEAST_TOKENS and (shared - depth) * (high - low - 1) >= LEAST_SAVED:
            node = Node(keyed[low][1], depth, shared)
            (above[-1] if above else root).children.append(node)
            above = (*above, node)
        cuts = [low, *(low + 1 + np.flatnonzero(common[low + 1 : high] == shared)).tolist(), high]
        waiting += [(a, b, above) for a, b in itertools.pairwise(cuts)]


def _in_order(node: Node) -> Iterator[Leaf]:
    """A node's own jobs, then those of the nodes below it."""
    waiting = [node]
    while waiting:
        node = waiting.pop()
        yield from sorted(node.leaves, key=lambda leaf: -leaf.own_tokens)
        waiting += sorted(node.children, key=lambda child: child.end - child.first)


def _key(job: Job, pictures: dict[str, int]) -> NDArray[np.int64]:
    """(T,) big-endian, so that their bytes sort as they do; `pictures` numbers pictures by their digests."""
    numbers = [pictures.setdefault(image.digest, len(pictures)) for image in job.rendered.images]
    key = np.array(job.ids, dtype=np.int64)
    if any(seen != NONE for seen in job.sees):
        key += (np.array([*numbers, NONE], dtype=np.int64)[list(job.sees)] + 1) << PICTURE_BITS
    for fill in job.sequence.fills:
        shown = fill.first + np.arange(fill.tokens)
        key[fill.position : fill.position + fill.tokens] = -1 - shown - ((numbers[fill.image] + 1) << PICTURE_BITS)
    return key.astype(">i8")


def _common(first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    """Positions at which two sequences agree, the last of either not counted: each job computes one at least."""
    length = min(len(first), len(second)) - 1
    differing = np.flatnonzero(first[:length] != second[:length])
    return int(differing[0]) if len(differing) else max(0, length)
