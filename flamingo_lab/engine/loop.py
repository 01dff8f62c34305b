"""Many requests with as little work as there is, and the reference's answers, whatever the batch.

Each picture is encoded once, each shared beginning computed once; sequences that end leave, and waiting ones enter.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import torch

from flamingo_lab import host
from flamingo_lab.engine import heap, tree
from flamingo_lab.engine.budget import Budget, Room
from flamingo_lab.engine.decode import Answered, Running
from flamingo_lab.engine.features import FeatureCache
from flamingo_lab.engine.kv import Slots
from flamingo_lab.engine.passes import Passes
from flamingo_lab.engine.plan import Job, failed, plan
from flamingo_lab.engine.prefill import Prefill
from flamingo_lab.engine.taking import Taking
from flamingo_lab.engine.tree import Leaf, Node
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.model import Answer, Request
from flamingo_lab.notes import note
from flamingo_lab.prompt import Image

WINDOW = 4096
"""Requests that are rendered and sorted together."""

SLOTS_SHARE = 0.6
"""Of the tokens whose keys and values may be held, what the sequences' own take; shared beginnings take the rest."""

WIDE = 64
"""Sequences side by side from which on more of them gain little, so that room is made for the longest ones instead."""


def answers(model: LoadedModel, requests: Iterable[Request], pass_tokens: int | None = None) -> Iterator[Answer]:
    """An answer a request, each as soon as it is known.

    pass_tokens: tokens of a pass, where a longer prompt passes alone; None for what the model's room says.
    """
    engine = Engine(model, model.room, pass_tokens)
    try:
        yield from engine.answers(requests)
    finally:
        engine.close()


class Engine:
    """Answers of one model. `Work` counts what was computed."""

    def __init__(self, model: LoadedModel, room: Room, pass_tokens: int | None = None) -> None:
        self._model = model
        self._work = model.work
        self._room = room
        self._memory_bytes = room.bytes_for(model.vlm.device)
        self._budget: Budget = room.budget(model)
        if model.streamed is None:  # weights that pass through memory leave none to keep
            heap.keep_freed()
        if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > host.cores():
            torch.set_num_threads(host.cores())  # torch does not know of a container's share of the cores
        if pass_tokens is not None:
            self._budget = replace(self._budget, pass_tokens=min(pass_tokens, self._budget.most_tokens))
        self._whole = self._budget
        cache = FeatureCache(room.features, model) if room.features else None
        self._store = model.pictures(self._budget.picture_bytes, cache, self._budget.views)
        self._passes = Passes(model, self._store, self._work)
        self._shares = model.vlm.architecture.decoder.experts is None
        self._running = Running(self._passes, Slots(0, 0))
        self._admitting: Sequence[Leaf] = ()
        self._numbers: dict[Leaf, int] = {}
        self._nodes: list[Node] = []

    def close(self) -> None:
        """End the threads that read pictures, and let go of the memory of passes."""
        self._store.close()
        heap.give_back()

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `answers`."""
        stream = iter(requests)
        while window := list(itertools.islice(stream, WINDOW)):
            jobs: list[Job] = []
            for planned in plan(self._model, window):
                if isinstance(planned, Answer):
                    yield planned
                else:
                    self._whole.check(planned, self._room, self._memory_bytes)
                    jobs.append(planned)
            leaves = tree.leaves(jobs, shares=self._shares)
            self._numbers = {leaf: number for number, leaf in enumerate(leaves)}
            self._nodes = list(dict.fromkeys(node for leaf in leaves for node in leaf.above))
            self._store.expect(_new_images(leaves))
            self._work.prompt_tokens_asked += sum(len(job.ids) for job in jobs)
            self._work.images_referenced += sum(len(job.rendered.images) for job in jobs)
            yield from self._answer_all(leaves)

    def _answer_all(self, leaves: Sequence[Leaf]) -> Iterator[Answer]:
        """An answer a job, whatever happens: jobs that fail together, for want of memory say, are asked again by halves.

        The budget is halved where a batch is too large for it; halves of that batch are smaller anyhow.
        """
        waiting = [(list(leaves), False)]
        while waiting:
            asked, is_half = waiting.pop()
            left = dict.fromkeys(asked)
            flight: list[Leaf] = []
            try:
                for leaf, answer in self._run(list(left)):
                    del left[leaf]
                    leaf.done()
                    self._work.generated_tokens += len(answer.token_ids)
                    yield answer
            except Exception as error:  # whatever one question does, the others are still asked
                flight = [leaf for leaf in self._in_flight() if leaf in left] or list(left)
                if is_want_of_memory(error) and len(flight) > 1 and not is_half:
                    self._budget = self._budget.halved()
                    self._store.shrink(self._budget.picture_bytes, self._budget.views)
                    self._work.halved_budgets += 1
                    note("too little memory for a batch: the budget is halved")
                failure = failed(flight[0].job.request.id, error) if len(flight) == 1 else None
            else:
                failure = None
            # Outside of the handler, so that the failed pass' tensors are free.
            self._running, self._admitting = Running(self._passes, Slots(0, 0)), ()
            for leaf in flight:
                del left[leaf]
            if left:
                waiting.append((list(left), is_half))
            if failure is not None:
                flight[0].done()
                yield failure
            elif flight:
                half = (len(flight) + 1) // 2
                waiting += [(flight[half:], True), (flight[:half], True)]

    def _in_flight(self) -> list[Leaf]:
        return list(dict.fromkeys([*self._admitting, *(one.leaf for one in self._running.jobs)]))

    @torch.inference_mode()
    def _run(self, leaves: Sequence[Leaf]) -> Iterator[Answered]:
        waiting = deque(leaves)
        while waiting or self._running.jobs:
            while unit := self._unit(waiting):
                self._admitting = unit
                yield from self._admit(unit, waiting)
                self._admitting = ()
            if self._running.jobs:
                yield from self._running.step()

    def _unit(self, waiting: deque[Leaf]) -> list[Leaf]:
        """The next jobs that fit into a pass, and into the slots; none where more slots have to become free first."""
        if not waiting:
            return []
        refill = int(self._budget.refill * self._running.slots.rows)
        if self._running.jobs and self._running.free < refill:
            some = itertools.islice(waiting, self._running.slots.rows)
            if self._running.free < sum(leaf.slots for leaf in some):
                return []
        taking = self._taking()
        if not self._running.jobs:
            room = self._budget.kv_tokens - taking.held - taking.beside(waiting[0])
            self._running = Running(self._passes, self._slots(waiting, room))
        slots, free = self._running.slots, self._running.free
        taking.held += slots.rows * slots.columns
        unit: list[Leaf] = []
        while waiting:
            leaf = waiting[0]
            has_slots = taking.rows + leaf.slots <= free and leaf.columns <= slots.columns
            is_first = not unit and not self._running.jobs  # goes on whatever it takes, `Budget.check` has looked at it
            if not has_slots or not (taking.has_room(leaf, self._budget) or is_first):
                break
            taking.take(leaf)
            unit.append(waiting.popleft())
        return unit

    def _taking(self) -> Taking:
        """What is held beside slots, before more jobs enter."""
        self._nodes = [node for node in self._nodes if node.left]
        ends = [one.above[-1] for one in self._running.jobs if one.leaf.branches]
        levels = {id(node.level): node.level for node in (*self._nodes, *ends) if node.level is not None}
        taking = Taking(self._store, sum(level.tokens for level in levels.values()))
        taking.keep(self._running.looked_at)
        return taking

    def _slots(self, waiting: deque[Leaf], room: int) -> Slots:
        """Slots for all that waits if enough of them fit, otherwise for those that come first; `room` is left for them."""
        tokens = max(1, min(room, int(SLOTS_SHARE * self._budget.kv_tokens)))
        needed = sum(leaf.slots for leaf in waiting)
        columns = max(leaf.columns for leaf in waiting)
        if tokens // max(1, columns) < min(WIDE, needed, self._budget.rows):
            columns = waiting[0].columns
        rows = min(tokens // max(1, columns), self._budget.rows, needed)
        return Slots(max(rows, waiting[0].slots), columns)

    def _admit(self, unit: Sequence[Leaf], waiting: deque[Leaf]) -> Iterator[Answered]:
        """Compute what the jobs' prompts have new; those whose options are ranked are answered."""
        began = time.perf_counter()
        ready: list[Leaf] = []
        bad = self._store.bring(
            itertools.chain.from_iterable(leaf.new_images() for leaf in unit),
            self._numbers[unit[0]],
            {image.digest for image in self._running.looked_at},
        )
        self._store.read_ahead(
            image for leaf in itertools.islice(waiting, 4 * len(unit)) for image in leaf.new_images()
        )
        for leaf in unit:
            unreadable = next((bad[i.digest] for i in leaf.job.rendered.images if i.digest in bad), None)
            if unreadable is None:
                ready.append(leaf)
            else:
                yield leaf, failed(leaf.job.request.id, unreadable)
        if not ready:
            return
        chains = [leaf for leaf in ready if not leaf.branches]
        branching = [leaf for leaf in ready if leaf.branches]
        prefill = Prefill(self._passes, self._budget)
        with self._work.stage("prompts"):
            prefill.above(ready)
            ends = prefill.ends(branching)
            entered = self._running.enter_prompts(chains, began)
        if entered is not None:
            yield from self._running.take(*entered)
        ranking = [leaf for leaf in branching if leaf.job.options]
        with self._work.stage("options"):
            found = prefill.rank(ranking, ends)
        for leaf, answer in zip(ranking, found, strict=True):
            yield leaf, replace(answer, seconds=(time.perf_counter() - began) / len(ranking))
        beams = [leaf for leaf in branching if not leaf.job.options]
        if beams:
            opened = [self._running.enter(leaf, (*leaf.above, ends[leaf][0]), began) for leaf in beams]
            yield from self._running.take(opened, torch.stack([ends[leaf][1] for leaf in beams]))


def _new_images(leaves: Iterable[Leaf]) -> Iterator[Iterator[Image]]:
    """The pictures that each job needs, where what it shares with those before it is computed then."""
    there: set[Node] = set()
    for leaf in leaves:
        yield leaf.new_images(there)
        there.update(leaf.above)


def is_want_of_memory(error: Exception) -> bool:
    """Whether there was too little memory."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
