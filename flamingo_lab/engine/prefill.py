"""What prompts have new: the beginnings that several share, and the ends of those behind which several ways go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from flamingo_lab.engine.budget import Budget
from flamingo_lab.engine.kv import Fresh, Level, Nowhere, Span
from flamingo_lab.engine.passes import Passes, Row
from flamingo_lab.engine.reference import ranked
from flamingo_lab.engine.tree import Leaf, Node
from flamingo_lab.model import Answer

T = TypeVar("T")


class Prefill:
    """Passes over prompts, of as many tokens as the budget says where a single prompt does not have more."""

    def __init__(self, passes: Passes, budget: Budget) -> None:
        self._passes = passes
        self._budget = budget

    def above(self, unit: Sequence[Leaf]) -> None:
        """The shared beginnings that are not there yet, from the tree's root on."""
        for depth in range(max(len(leaf.above) for leaf in unit)):
            chains = {leaf.above[depth]: leaf.above[:depth] for leaf in unit if depth < len(leaf.above)}
            missing = [node for node in chains if node.level is None]
            rows = [Row.of(node.job, node.first, node.end, chains[node]) for node in missing]
            for nodes, batch in self._batches(missing, rows):
                level = self._level(batch)
                self._passes.ends(batch, Fresh(level))
                for group, node in enumerate(nodes):
                    node.level, node.group = level, group

    def ends(self, unit: Sequence[Leaf]) -> dict[Leaf, tuple[Node, Tensor]]:
        """For jobs that branch behind their prompt: its own end as a shared beginning, and log-probabilities (V,) behind it."""
        rows = [Row.of(leaf.job, leaf.first, len(leaf.job.ids), leaf.above) for leaf in unit]
        found: dict[Leaf, tuple[Node, Tensor]] = {}
        for leaves, batch in self._batches(unit, rows):
            level = self._level(batch)
            behind = self._passes.logprobs(self._passes.ends(batch, Fresh(level)))
            for group, leaf in enumerate(leaves):
                node = Node(leaf.job, leaf.first, len(leaf.job.ids), level=level, group=group)
                found[leaf] = node, behind[group]
        return found

    def rank(self, leaves: Sequence[Leaf], ends: dict[Leaf, tuple[Node, Tensor]]) -> list[Answer]:
        """Each option's log-probability behind the prompt; its last token is predicted, and so never fed."""
        sums: dict[Leaf, list[float]] = {}
        greedy: dict[Leaf, list[bool]] = {}
        for leaf in leaves:
            behind, firsts = ends[leaf][1], [option.ids[0] for option in leaf.job.options]
            likeliest = int(behind.argmax())
            sums[leaf] = behind[firsts].tolist()
            greedy[leaf] = [first == likeliest for first in firsts]
        owners: list[tuple[Leaf, int]] = []
        rows: list[Row] = []
        for leaf in leaves:
            job = leaf.job
            first = job.sequence.padding + len(job.ids)
            for number, option in enumerate(job.options):
                if len(option.ids) > 1:
                    tokens = job.sequence._replace(ids=option.ids[:-1], sees=option.sees[:-1], fills=())
                    owners.append((leaf, number))
                    rows.append(Row(job, tokens, first, (*leaf.above, ends[leaf][0])))
        for held, batch in self._batches(owners, rows):
            hidden = self._passes.prompts(batch, Nowhere())
            wanted = torch.zeros(hidden.shape[:2], dtype=torch.long)
            for row, (leaf, number) in enumerate(held):
                rest = leaf.job.options[number].ids[1:]
                wanted[row, : len(rest)] = torch.tensor(rest)
            found, are_likeliest = self._passes.chances(hidden, wanted.to(hidden.device), self._budget.rows)
            for row, (leaf, number) in enumerate(held):
                rest = len(leaf.job.options[number].ids) - 1
                sums[leaf][number] += float(found[row, :rest].sum())
                greedy[leaf][number] &= bool(are_likeliest[row, :rest].all())
        return [ranked(leaf.job, sums[leaf], greedy[leaf]) for leaf in leaves]

    def _level(self, batch: Sequence[Row]) -> Level:
        self._passes.work.prompt_tokens_computed += sum(len(row.tokens.ids) for row in batch)
        return Level([Span(row.first, len(row.tokens.ids)) for row in batch], self._passes.model.vlm.device)

    def _batches(self, owners: Sequence[T], rows: Sequence[Row]) -> Iterator[tuple[list[T], list[Row]]]:
        """Rows that pass together, with their owners."""
        held: list[T] = []
        batch: list[Row] = []
        longest = 0
        for owner, row in zip(owners, rows, strict=True):
            longest = max(longest, len(row.tokens.ids))
            if batch and (len(batch) + 1) * longest > self._budget.pass_tokens:
                yield held, batch
                held, batch, longest = [], [], len(row.tokens.ids)
            held.append(owner)
            batch.append(row)
        if batch:
            yield held, batch
