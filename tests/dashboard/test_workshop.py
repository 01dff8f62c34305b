"""What is worked out in the background, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from types import SimpleNamespace

import pytest

from dashboard import workshop
from dashboard.workshop import Workshop


@pytest.fixture
def visitor(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Makes the next question another visitor's."""

    def arrive() -> None:
        monkeypatch.setattr(workshop, "st", SimpleNamespace(session_state={}))

    arrive()
    return arrive


def test_the_last_question_goes_first_and_nothing_is_done_twice(visitor: Callable[[], None]) -> None:
    begun, go, order = Event(), Event(), []

    def work(name: str) -> Callable[[], str]:
        def run() -> str:
            if name == "first":
                begun.set()
                assert go.wait(10)
            order.append(name)
            return name.upper()

        return run

    shop = Workshop("test")
    shop.ask({name: work(name) for name in ("first", "second", "unwanted")})
    assert begun.wait(10)
    found = shop.ask({name: work(name) for name in ("first", "third", "second")})
    go.set()
    assert [future.result(10) for future in found] == ["FIRST", "THIRD", "SECOND"]
    visitor()
    assert shop.ask({"second": work("second")})[0].result(10) == "SECOND"
    assert order == ["first", "third", "second"]
