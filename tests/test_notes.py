"""What a person should know is said once."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from flamingo_lab.notes import note


class Slow(logging.Handler):
    """Takes its time, so that others come in between."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())
        time.sleep(0.1)


def test_threads_that_notice_the_same_say_it_once() -> None:
    together, slow = Barrier(4, timeout=20), Slow()

    def notices() -> None:
        together.wait()
        note("the same, by all of them")

    logger = logging.getLogger("flamingo_lab")
    logger.addHandler(slow)
    try:
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(notices) for _ in range(4)]:
                done.result()
        note("the same, by all of them")
        note("something else")
    finally:
        logger.removeHandler(slow)
    assert slow.said == ["the same, by all of them", "something else"]
