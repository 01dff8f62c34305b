"""Work for several threads, whose results come as they are ready."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2
"""Items that wait for each thread, so that none is idle while results are looked at."""


def concurrently(work: Callable[[T], R], items: Iterable[T], count: int, stop: threading.Event) -> Iterator[R]:
    """What `work`, which raises nothing, makes of each item, in any order. Closed early, it sets `stop` and waits for no one.

    Items are taken as they are needed, by the thread that iterates.
    """
    todo: queue.SimpleQueue[T | None] = queue.SimpleQueue()
    done: queue.SimpleQueue[R] = queue.SimpleQueue()

    def run() -> None:
        while (item := todo.get()) is not None and not stop.is_set():
            done.put(work(item))

    stream = iter(items)
    threads: list[threading.Thread] = []
    waiting = 0
    try:
        for item in itertools.islice(stream, count * AHEAD):
            if len(threads) < count:
                # Not waited for at the interpreter's end, where one may be waiting for a reply.
                threads.append(threading.Thread(target=run, daemon=True))
                threads[-1].start()
            todo.put(item)
            waiting += 1
        while waiting:
            result = done.get()
            waiting -= 1
            for item in itertools.islice(stream, 1):
                todo.put(item)
                waiting += 1
            yield result
    finally:
        stop.set()
        for _ in threads:
            todo.put(None)
