"""As many threads as this process has cores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import flamingo_lab as fl
from flamingo_lab import host
from flamingo_lab.engine import loop


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("told", "threads"), [(None, 1), ("2", 2)])
@pytest.mark.usefixtures("two_threads")
def test_a_container_with_one_core_gets_one_thread_where_nobody_says_more(
    told: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "cores", lambda: 1)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if told:
        monkeypatch.setenv("OMP_NUM_THREADS", told)
    model = fl.load("flamingo-tiny")
    assert isinstance(model, fl.LoadedModel)
    assert [*loop.answers(model, [])] == []
    assert torch.get_num_threads() == threads
