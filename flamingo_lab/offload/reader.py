"""A thread that brings weights into memory before they are needed."""

from __future__ import annotations

import mmap
import threading
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from flamingo_lab.checkpoint import release, will_stream
from flamingo_lab.files import pieces
from flamingo_lab.offload.items import CHUNK_BYTES, Item, Stretch, aligned
from flamingo_lab.offload.ring import Ring


@dataclass(eq=False)
class Reading:
    """An item on its way into memory, and there once it `is_done`: its parameters, or what went wrong.

    `is_guess`: whether something else may be needed before it.
    """

    item: Item
    parts: Sequence[Tensor]
    is_guess: bool
    nbytes: int = 0
    is_done: bool = False
    error: Exception | None = None


@dataclass
class Counts:
    """What was read. bytes: of published tensors; unused_bytes: of them, what was read ahead in vain.

    reading_seconds: the thread's; waited_seconds: those of whoever needed weights that were not there yet.
    """

    bytes: int = 0
    unused_bytes: int = 0
    reading_seconds: float = 0.0
    waited_seconds: float = 0.0


@dataclass(eq=False)
class Reader:
    """Reads ahead in the order in which items followed each other before, as far as that was always the same.

    `items` in the order that is likely at first. What is only likely is read with nothing else ahead. `memory` (bytes,)
    uint8, on the device that computes, has room for the largest item; with more, another is read while that is in use.
    `is_cached`: whether the system may keep what was read of the files, for the next time.
    """

    items: Sequence[Item]
    memory: Tensor
    dtype: torch.dtype
    is_cached: bool = True
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._follows = dict(zip(self.items, [*self.items[1:], *self.items[:1]], strict=True))
        self._followed: defaultdict[Item, set[Item]] = defaultdict(set)
        self._ring = Ring(len(self.memory))
        self._buffer = mmap.mmap(-1, CHUNK_BYTES)
        self._next, self._is_guess = self.items[0], True
        self._last: Item | None = None
        self._ahead: deque[Reading] = deque()
        self._is_over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="weights", daemon=True)
        self._thread.start()

    def take(self, item: Item) -> Sequence[Tensor]:
        """The item's parameters. They are good until the next item is taken."""
        began = time.perf_counter()
        with self._changed:
            if self._last is not None:
                self._ring.take_back()
                self._follows[self._last] = item
                self._followed[self._last].add(item)
            self._last = None
            if all(reading.item is not item for reading in self._ahead):
                self._next, self._is_guess = item, False
            while not (self._ahead and self._ahead[0].is_done and self._ahead[0].item is item):
                if self._ahead and self._ahead[0].is_done:
                    self._drop()
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._ahead) and self._ahead[0].is_done)
            reading = self._ahead.popleft()
            self._last = item
            self.counts.waited_seconds += time.perf_counter() - began
            self._changed.notify_all()
        if reading.error is not None:
            raise reading.error
        return reading.parts

    def close(self) -> None:
        """End the thread, in the middle of what it reads."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        if self._thread is not threading.current_thread():  # it may be what collects the model
            self._thread.join()

    def _drop(self) -> None:
        """Let go of what was read first, which nobody asked for."""
        unused = self._ahead.popleft()
        self._ring.take_back()
        self.counts.unused_bytes += unused.nbytes

    def _run(self) -> None:
        while True:
            with self._changed:
                while (start := self._start()) is None and not self._is_over:
                    self._changed.wait()
                if start is None:
                    return
                reading = Reading(self._next, self._places(self._next, start), self._is_guess)
                self._ahead.append(reading)
                self._next = self._follows[reading.item]
                self._is_guess = len(self._followed[reading.item]) != 1
            self._read(reading)
            with self._changed:
                reading.is_done = True
                self._changed.notify_all()

    def _start(self) -> int | None:
        """Where the next item goes, None as long as it has to wait."""
        is_guess = self._is_guess or any(reading.is_guess for reading in self._ahead)
        if self._is_over or (is_guess and self._ahead):
            return None
        return self._ring.give(self._next.nbytes(self.dtype))

    def _places(self, item: Item, start: int) -> list[Tensor]:
        """Where an item's parameters go, one behind the other."""
        places: list[Tensor] = []
        for shape in item.shapes:
            nbytes = torch.Size(shape).numel() * self.dtype.itemsize
            places.append(self.memory[start : start + nbytes].view(self.dtype).view(shape))
            start += aligned(nbytes)
        return places

    def _read(self, reading: Reading) -> None:
        began = time.perf_counter()
        try:
            stretches = None if self.is_cached else reading.item.stretches
            if stretches is None:
                self._read_mapped(reading)
            else:
                for stretch, place in zip(stretches, reading.parts, strict=True):
                    self._read_past_cache(stretch, reading.item.dtype, place)
                    reading.nbytes += stretch.end - stretch.first
        except Exception as error:  # raised where the item is needed
            reading.error = error
        self.counts.bytes += reading.nbytes
        self.counts.reading_seconds += time.perf_counter() - began

    def _read_mapped(self, reading: Reading) -> None:
        """Copy an item's tensors through the system's cache."""
        tensor, parts = reading.item.read()
        for part, place in zip(parts, reading.parts, strict=True):
            self._pour(part, place, is_view=reading.item.is_view(part, tensor))
            reading.nbytes += part.nbytes
        release(tensor, is_cached=self.is_cached)

    def _pour(self, source: Tensor, place: Tensor, *, is_view: bool) -> None:
        """Copy a tensor; of one that views a mapped file, each chunk's pages are given back before the next is touched."""
        if not (is_view and source.is_contiguous()):
            place.copy_(source)
            return
        flat, into = source.view(-1), place.view(-1)
        step = CHUNK_BYTES // source.itemsize
        will_stream(flat)
        for start in range(0, len(flat), step):
            if self._is_over:
                return
            chunk = flat[start : start + step]
            into[start : start + step].copy_(chunk)
            release(chunk, is_cached=self.is_cached)

    def _read_past_cache(self, stretch: Stretch, dtype: torch.dtype, place: Tensor) -> None:
        """Copy a tensor from its file, whose pages are not mapped for it: a map would bring them into the cache again."""
        into, done = place.view(-1), 0
        for piece in pieces(*stretch, buffer=self._buffer, is_cached=False):
            if self._is_over:
                return
            numbers = torch.frombuffer(piece, dtype=dtype)
            into[done : done + len(numbers)].copy_(numbers)
            done += len(numbers)
