"""What is read ahead, in which order, and what happens where that was wrong or fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from flamingo_lab.checkpoint import Entry
from flamingo_lab.offload.items import Item
from flamingo_lab.offload.reader import Reader
from flamingo_lab.weights import Target

SHAPE = (8, 8)
BYTES = 8 * 8 * 4
SECONDS, MOMENT = 20.0, 0.05


class Files:
    """Tensors that say when they are read, each full of its own number; those of `torn` cannot be."""

    folder = Path()
    files = ()

    def __init__(self, torn: str = "") -> None:
        self.asked: list[str] = []
        self._torn = torn
        self._read = threading.Condition()

    def items(self) -> Iterator[tuple[str, Entry]]:
        raise NotImplementedError

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        raise NotImplementedError

    def tensor(self, name: str) -> Tensor:
        with self._read:
            self.asked.append(name)
            self._read.notify_all()
        if name == self._torn:
            raise OSError("torn")
        return torch.full(SHAPE, float(name), dtype=torch.float64)

    def has_read(self, *names: str) -> bool:
        """Whether these are what is read last, and nothing behind them."""
        with self._read:
            is_read = self._read.wait_for(lambda: tuple(self.asked[-len(names) :]) == names, SECONDS)
            return is_read and not self._read.wait_for(lambda: tuple(self.asked[-len(names) :]) != names, MOMENT)


def made(files: Files, count: int, room: int) -> tuple[list[Item], Reader]:
    """Items of one size, and a reader with room for so many."""
    items = [Item(files, str(n), torch.float64, Target((f"{n}.weight",), None), (SHAPE,)) for n in range(count)]
    return items, Reader(items, torch.zeros(room * BYTES, dtype=torch.uint8), torch.float32)


def take(reader: Reader, item: Item) -> None:
    (weight,) = reader.take(item)
    assert weight.dtype == torch.float32
    assert weight.shape == SHAPE
    assert bool((weight == float(item.published)).all())


def test_the_next_is_read_while_one_is_in_use() -> None:
    files = Files()
    items, reader = made(files, 3, 2)
    take(reader, items[0])
    assert files.has_read("0", "1")
    take(reader, items[1])
    assert files.has_read("0", "1", "2")
    reader.close()


def test_the_order_of_use_is_learned_and_read_ahead_as_far_as_there_is_room() -> None:
    files = Files()
    items, reader = made(files, 4, 3)
    order = [items[n] for n in (2, 0, 3, 1)]
    for item in (*order, order[0]):
        take(reader, item)
    unused = reader.counts.unused_bytes
    for item in (*order[1:], *order, *order):
        take(reader, item)
    assert reader.counts.unused_bytes == unused
    assert files.has_read("1", "2", "0")
    reader.close()


def test_behind_what_went_on_in_two_ways_one_is_read_and_no_more() -> None:
    files = Files()
    items, reader = made(files, 6, 6)
    for n in (0, 1, 2, 0, 1, 3, 0, 1):
        take(reader, items[n])
    assert files.has_read("0", "1", "3")
    take(reader, items[3])
    assert files.has_read("0", "1", "3", "0", "1")
    reader.close()


def test_an_error_is_raised_where_the_weight_is_needed() -> None:
    items, reader = made(Files(torn="1"), 3, 2)
    take(reader, items[0])
    with pytest.raises(OSError, match="torn"):
        reader.take(items[1])
    take(reader, items[2])
    reader.close()


def test_bytes_are_those_of_the_files() -> None:
    items, reader = made(Files(), 2, 2)
    for item in (*items, *items):
        take(reader, item)
    reader.close()
    assert reader.counts.bytes % (2 * BYTES) == 0
    assert reader.counts.bytes >= 4 * 2 * BYTES
