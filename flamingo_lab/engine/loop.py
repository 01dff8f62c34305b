"""Many requests with as little work as there is, and the reference's answers, whatever the batch.

Each picture is encoded once, each shared beginning computed once; sequences that end leave, and waiting ones enter.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import torch
from torch import Tensor

from flamingo_lab.engine import tree
from flamingo_lab.engine.budget import Budget, Room
from flamingo_lab.engine.features import FeatureCache
from flamingo_lab.engine.images import PictureStore
from flamingo_lab.engine.kv import Fresh, IntoSlots, Level, Nowhere, Slots, Span
from flamingo_lab.engine.passes import Layout, Passes, Row
from flamingo_lab.engine.plan import Job, failed, plan
from flamingo_lab.engine.reference import ranked
from flamingo_lab.engine.search import Chain, Next, Search
from flamingo_lab.engine.tree import Leaf, Node
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.model import Answer, Request
from flamingo_lab.notes import note
from flamingo_lab.prompt import Image

T = TypeVar("T")

WINDOW = 4096
"""Requests that are rendered and sorted together."""

SLOTS_SHARE = 0.6
"""Of the tokens whose keys and values may be held, what the sequences' own take; shared beginnings take the rest."""

WIDE = 64
"""Sequences side by side from which on more of them gain little, so that room is made for the longest ones instead."""

REFILL = 0.25
"""Share of the slots that is free before waiting sequences enter, so that their prompts pass together."""


def answers(model: LoadedModel, requests: Iterable[Request], batch_tokens: int | None = None) -> Iterator[Answer]:
    """An answer a request, each as soon as it is known. batch_tokens: tokens of a pass, None for what the model's room says."""
    room = model.room if batch_tokens is None else replace(model.room, batch_tokens=batch_tokens)
    engine = Engine(model, room)
    try:
        yield from engine.answers(requests)
    finally:
        engine.close()


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


class Engine:
    """Answers of one model. `Work` counts what was computed."""

    def __init__(self, model: LoadedModel, room: Room) -> None:
        self._model = model
        self._work = model.work
        self._memory_bytes = room.bytes_for(model.vlm.device)
        self._budget: Budget = room.budget(model)
        cache = FeatureCache(room.features, model) if room.features else None
        self._store = PictureStore(model, self._work, self._budget.picture_bytes, cache)
        self._passes = Passes(model, self._store, self._work)
        self._shares = model.vlm.architecture.decoder.experts is None
        self._slots = Slots(0, 0)
        self._open: list[Open] = []
        self._admitting: Sequence[Leaf] = ()
        self._layout: Layout | None = None
        self._numbers: dict[Leaf, int] = {}

    def close(self) -> None:
        """End the threads that read pictures."""
        self._store.close()

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `answers`."""
        stream = iter(requests)
        while window := list(itertools.islice(stream, WINDOW)):
            jobs: list[Job] = []
            for planned in plan(self._model, window):
                if isinstance(planned, Answer):
                    yield planned
                else:
                    self._budget.check(planned, self._memory_bytes)
                    jobs.append(planned)
            leaves = tree.leaves(jobs, shares=self._shares)
            self._numbers = {leaf: number for number, leaf in enumerate(leaves)}
            self._store.expect(leaf.job.rendered.images for leaf in leaves)
            self._work.prompt_tokens_asked += sum(len(job.ids) for job in jobs)
            self._work.images_referenced += sum(len(job.rendered.images) for job in jobs)
            yield from self._answer_all(leaves)

    def _answer_all(self, leaves: Sequence[Leaf]) -> Iterator[Answer]:
        """An answer a job, whatever happens: jobs that fail together, for want of memory say, are asked again by halves."""
        waiting = [list(leaves)]
        while waiting:
            left = dict.fromkeys(waiting.pop())
            flight: list[Leaf] = []
            try:
                for leaf, answer in self._run(list(left)):
                    del left[leaf]
                    leaf.done()
                    self._work.generated_tokens += len(answer.token_ids)
                    yield answer
            except Exception as error:  # whatever one question does, the others are still asked
                flight = [leaf for leaf in self._in_flight() if leaf in left] or list(left)
                if _is_want_of_memory(error):
                    self._budget = self._budget.halved()
                    self._store.shrink(self._budget.picture_bytes)
                    self._work.halved_budgets += 1
                    note("too little memory for a batch: the budget is halved")
                failure = failed(flight[0].job.request.id, error) if len(flight) == 1 else None
            else:
                failure = None
            # Outside of the handler, so that the failed pass' tensors are free.
            self._slots, self._open, self._admitting, self._layout = Slots(0, 0), [], (), None
            for leaf in flight:
                del left[leaf]
            if left:
                waiting.append(list(left))
            if failure is not None:
                flight[0].done()
                yield failure
            elif flight:
                half = (len(flight) + 1) // 2
                waiting += [flight[half:], flight[:half]]

    def _in_flight(self) -> list[Leaf]:
        return list(dict.fromkeys([*self._admitting, *(one.leaf for one in self._open)]))

    @torch.inference_mode()
    def _run(self, leaves: Sequence[Leaf]) -> Iterator[Answered]:
        waiting = deque(leaves)
        while waiting or self._open:
            while unit := self._unit(waiting):
                self._admitting = unit
                yield from self._admit(unit, waiting)
                self._admitting = ()
            if self._open:
                yield from self._step()

    # Who is admitted.

    def _unit(self, waiting: deque[Leaf]) -> list[Leaf]:
        """The next jobs that fit into a pass, and into the slots; none where more slots have to become free first."""
        if not waiting:
            return []
        if not self._open:
            self._make_slots(waiting)
        free = self._slots.rows - len(self._slots.lengths)
        wanted = min(sum(map(_slots_of, waiting)), int(REFILL * self._slots.rows))
        if self._open and free < wanted:
            return []
        unit: list[Leaf] = []
        rows = longest = 0
        while waiting:
            leaf = waiting[0]
            longest = max(longest, leaf.own_tokens)
            is_full = (len(unit) + 1) * longest > self._budget.pass_tokens
            has_slots = rows + _slots_of(leaf) <= free and _columns_of(leaf) <= self._slots.columns
            if (unit and is_full) or not has_slots:
                break
            unit.append(waiting.popleft())
            rows += _slots_of(leaf)
        return unit

    def _make_slots(self, waiting: deque[Leaf]) -> None:
        """Slots for all that waits if enough of them fit, otherwise for those that come first."""
        tokens = max(1, int(SLOTS_SHARE * self._budget.kv_tokens))
        needed = sum(map(_slots_of, waiting))
        columns = max(map(_columns_of, waiting))
        if tokens // max(1, columns) < min(WIDE, needed, self._budget.rows):
            columns = _columns_of(waiting[0])
        rows = min(tokens // max(1, columns), self._budget.rows, needed)
        self._slots = Slots(max(rows, _slots_of(waiting[0])), columns)

    # What they bring with them.

    def _admit(self, unit: Sequence[Leaf], waiting: deque[Leaf]) -> Iterator[Answered]:
        """Compute what the jobs' prompts have new; those whose options are ranked are answered."""
        began = time.perf_counter()
        ready: list[Leaf] = []
        bad = self._store.bring(itertools.chain.from_iterable(map(_new_images, unit)), self._numbers[unit[0]])
        self._store.read_ahead(
            image for leaf in itertools.islice(waiting, 4 * len(unit)) for image in leaf.job.rendered.images
        )
        for leaf in unit:
            unreadable = next((bad[i.digest] for i in leaf.job.rendered.images if i.digest in bad), None)
            if unreadable is None:
                ready.append(leaf)
            else:
                yield leaf, failed(leaf.job.request.id, unreadable)
        if not ready:
            return
        with self._work.stage("prompts"):
            self._compute_above(ready)
            branching = [leaf for leaf in ready if _branches(leaf)]
            ends = self._own_ends(branching)
            chains = [leaf for leaf in ready if not _branches(leaf)]
            fresh = self._into_slots(chains, began)
        ranking = [leaf for leaf in branching if leaf.job.options]
        if ranking:
            with self._work.stage("options"):
                found = self._rank(ranking, ends)
            for leaf, answer in zip(ranking, found, strict=True):
                yield leaf, replace(answer, seconds=(time.perf_counter() - began) / len(ranking))
        beams = [leaf for leaf in branching if not leaf.job.options]
        opened = [self._opened(leaf, (*leaf.above, ends[leaf][0]), began) for leaf in beams]
        if fresh is not None:
            yield from self._take(self._open[-len(chains) - len(opened) :][: len(chains)], fresh)
        if opened:
            yield from self._take(opened, torch.stack([ends[leaf][1] for leaf in beams]))

    def _compute_above(self, unit: Sequence[Leaf]) -> None:
        """The shared beginnings that are not there yet, from the tree's root on."""
        for depth in range(max(len(leaf.above) for leaf in unit)):
            chains = {leaf.above[depth]: leaf.above[:depth] for leaf in unit if depth < len(leaf.above)}
            missing = [node for node in chains if node.level is None]
            rows = [Row.of(node.job, node.first, node.end, chains[node]) for node in missing]
            for nodes, batch in self._batches(missing, rows):
                level = self._level(batch)
                self._passes.prompts(batch, Fresh(level))
                for group, node in enumerate(nodes):
                    node.level, node.group = level, group

    def _own_ends(self, unit: Sequence[Leaf]) -> dict[Leaf, tuple[Node, Tensor]]:
        """For jobs that branch behind their prompt: its own end as a shared beginning, and log-probabilities (V,) behind it."""
        rows = [Row.of(leaf.job, leaf.first, len(leaf.job.ids), leaf.above) for leaf in unit]
        found: dict[Leaf, tuple[Node, Tensor]] = {}
        for leaves, batch in self._batches(unit, rows):
            level = self._level(batch)
            behind = self._passes.last(batch, self._passes.prompts(batch, Fresh(level)))
            for group, leaf in enumerate(leaves):
                node = Node(leaf.job, leaf.first, len(leaf.job.ids), level=level, group=group)
                found[leaf] = node, behind[group]
        return found

    def _into_slots(self, chains: Sequence[Leaf], began: float) -> Tensor | None:
        """Log-probabilities (R, V) behind the prompts of jobs that do not branch, whose own ends go into slots."""
        if not chains:
            return None
        rows = [Row.of(leaf.job, leaf.first, len(leaf.job.ids), leaf.above) for leaf in chains]
        first = len(self._slots.lengths)
        self._work.prompt_tokens_computed += sum(len(row.tokens.ids) for row in rows)
        behind = self._passes.last(rows, self._passes.prompts(rows, IntoSlots(self._slots, first)))
        for leaf, row in zip(chains, rows, strict=True):
            self._opened(leaf, leaf.above, began, len(row.tokens.ids))
        return behind

    def _level(self, batch: Sequence[Row]) -> Level:
        self._work.prompt_tokens_computed += sum(len(row.tokens.ids) for row in batch)
        return Level([Span(row.first, len(row.tokens.ids)) for row in batch], self._model.vlm.device)

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

    def _rank(self, leaves: Sequence[Leaf], ends: dict[Leaf, tuple[Node, Tensor]]) -> list[Answer]:
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
            wanted = wanted.to(hidden.device)
            logprobs = self._passes.logprobs(hidden)
            found = logprobs.gather(-1, wanted[..., None])[..., 0]
            are_likeliest = logprobs.argmax(-1) == wanted
            for row, (leaf, number) in enumerate(held):
                rest = len(leaf.job.options[number].ids) - 1
                sums[leaf][number] += float(found[row, :rest].sum())
                greedy[leaf][number] &= bool(are_likeliest[row, :rest].all())
        return [ranked(leaf.job, sums[leaf], greedy[leaf]) for leaf in leaves]

    # How they go on.

    def _opened(self, leaf: Leaf, above: tuple[Node, ...], began: float, own_tokens: int = 0) -> Open:
        job = leaf.job
        first, count = len(self._slots.lengths), _slots_of(leaf)
        self._slots.lengths += [own_tokens] * count
        position = job.sequence.padding + len(job.ids)
        one = Open(leaf, job.search(), list(range(first, first + count)), above, position, began)
        self._open.append(one)
        self._layout = None
        return one

    def _step(self) -> Iterator[Answered]:
        """One more token for every sequence."""
        with self._work.stage("answers"):
            by_slot: list[tuple[Open, int]] = [(self._open[0], 0)] * len(self._slots.lengths)
            for one in self._open:
                for slot, token in zip(one.slots, one.tokens, strict=True):
                    by_slot[slot] = one, token
            if self._layout is None:
                self._layout = Layout.of(self._passes, [one.row for one, _ in by_slot])
            tokens = [token for _, token in by_slot]
            logprobs = self._layout.step(self._passes, self._slots, tokens, [one.position for one, _ in by_slot])
            for one in self._open:
                one.position += 1
            order = [slot for one in self._open for slot in one.slots[: one.branches]]
            if order != list(range(len(logprobs))):
                logprobs = logprobs[torch.tensor(order, device=logprobs.device)]
        yield from self._take(list(self._open), logprobs)

    def _take(self, opens: Sequence[Open], logprobs: Tensor) -> Iterator[Answered]:
        """Let each search take its log-probabilities (its branches, V), which stand one after the other."""
        over: list[Open] = []
        with self._work.stage("search"):
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
            self._slots.move(sources, targets)
            if over:
                self._leave(over)
        for one in over:
            seconds = (time.perf_counter() - one.began) / max(1, len(self._open) + len(over))
            yield one.leaf, one.leaf.job.answer(**one.searching.found()._asdict(), seconds=seconds)

    def _leave(self, over: Sequence[Open]) -> None:
        """Free the slots of jobs that are over; those behind move up."""
        gone = {slot for one in over for slot in one.slots}
        kept = len(self._slots.lengths) - len(gone)
        holes = sorted(slot for slot in gone if slot < kept)
        movers = [slot for slot in range(kept, len(self._slots.lengths)) if slot not in gone]
        self._slots.move(movers, holes)
        del self._slots.lengths[kept:]
        moved = dict(zip(movers, holes, strict=True))
        leaving = set(map(id, over))
        self._open = [one for one in self._open if id(one) not in leaving]
        for one in self._open:
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


def _branches(leaf: Leaf) -> bool:
    """Whether several sequences go on from the prompt."""
    return bool(leaf.job.options) or leaf.job.rows > 1


def _slots_of(leaf: Leaf) -> int:
    """Slots that the job takes; options are not gone on with."""
    return 0 if leaf.job.options else leaf.job.rows


def _columns_of(leaf: Leaf) -> int:
    """Own tokens that one of the job's slots has to hold."""
    if leaf.job.options:
        return 0
    return leaf.job.new_tokens + (0 if _branches(leaf) else leaf.own_tokens)


def _new_images(leaf: Leaf) -> Iterator[Image]:
    """Pictures that are needed to compute what of the prompt is not there yet, or that its end looks at."""
    sequence, images = leaf.job.sequence, leaf.job.rendered.images
    first = next((node.first for node in leaf.above if node.level is None), leaf.first)
    wanted = {fill.image for fill in sequence.fills if fill.position + fill.tokens > first}
    wanted |= {sees for sees in sequence.sees[first:] if sees >= 0}
    wanted |= {sees for option in leaf.job.options for sees in option.sees if sees >= 0}
    return (images[number] for number in sorted(wanted))


def _is_want_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
