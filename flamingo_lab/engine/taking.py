"""What jobs that enter together take: whether they pass well with each other, and may be held beside what there is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from flamingo_lab.engine.budget import Budget
from flamingo_lab.engine.images import PictureStore
from flamingo_lab.engine.tree import Leaf, Node
from flamingo_lab.prompt import Image

PADDING = 0.1
"""Of a pass that has tokens enough, the share that may be padding."""


@dataclass
class Taking:
    """What jobs that enter together take. held: tokens whose keys and values are held; pictures: bytes by digest."""

    store: PictureStore
    held: int
    pictures: dict[str, int] = field(default_factory=dict[str, int])
    pictures_bytes: int = 0
    jobs: int = 0
    rows: int = 0
    tokens: int = 0
    longest: int = 0
    nodes: set[Node] = field(default_factory=set[Node])

    def has_room(self, leaf: Leaf, budget: Budget) -> bool:
        """Whether the job passes with the others well, and what it needs can be held beside what there is."""
        padded = (self.jobs + 1) * max(self.longest, leaf.own_tokens)
        is_enough = self.tokens >= budget.enough_tokens and padded - self.tokens - leaf.own_tokens > PADDING * padded
        if self.jobs and (padded > budget.pass_tokens or is_enough):
            return False
        coming_bytes = sum(self._coming(leaf.new_images()).values())
        return (
            self.held + self.beside(leaf) <= budget.kv_tokens
            and self.pictures_bytes + coming_bytes <= budget.picture_bytes
        )

    def take(self, leaf: Leaf) -> None:
        """Let the job be one of them."""
        self.held += self.beside(leaf)
        self.keep(leaf.new_images())
        self.nodes |= {*leaf.above}
        self.jobs += 1
        self.rows += leaf.slots
        self.tokens += leaf.own_tokens
        self.longest = max(self.longest, leaf.own_tokens)

    def keep(self, images: Iterable[Image]) -> None:
        """Count pictures that have to be held meanwhile."""
        coming = self._coming(images)
        self.pictures |= coming
        self.pictures_bytes += sum(coming.values())

    def beside(self, leaf: Leaf) -> int:
        """Tokens that are to be held beside slots: of beginnings, and of prompts behind which several ways go on."""
        missing = (node.end - node.first for node in leaf.above if node.level is None and node not in self.nodes)
        return sum(missing) + (leaf.own_tokens if leaf.branches else 0)

    def _coming(self, images: Iterable[Image]) -> dict[str, int]:
        """The pictures that are not counted yet."""
        return {image.digest: self.store.bytes_of(image) for image in images if image.digest not in self.pictures}
