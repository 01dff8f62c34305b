"""A model split over several processes: on rank 0 a model like any other, on the others what goes along with it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, NoReturn, ParamSpec, TypeVar

import torch

from flamingo_lab.engine import loop
from flamingo_lab.engine.budget import VIEWS, Budget, Room, free_bytes, taken_bytes
from flamingo_lab.engine.images import PictureStore
from flamingo_lab.errors import BadSetting, LabError
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.model import Answer, Request
from flamingo_lab.parallel.patience import break_off
from flamingo_lab.parallel.pictures import SplitStore, told
from flamingo_lab.parallel.ranks import Abandoned, Lost, Ranks, Step

if TYPE_CHECKING:
    from flamingo_lab.engine.features import FeatureCache

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class SplitRoom(Room):
    """What every rank may take. neighbours: ranks on this machine, which share its memory."""

    ranks: Ranks = field(kw_only=True)
    neighbours: int = field(kw_only=True)

    def budget(self, model: LoadedModel) -> Budget:
        """The least of all ranks' budgets, on each of them. Raises `BadSetting` where one has no room."""
        own: Budget | str
        try:
            own = super().budget(model)
        except BadSetting as error:
            own = str(error)
        budgets: list[Budget] = []
        for rank, one in enumerate(self.ranks.exchange(own)):
            if isinstance(one, str):
                raise BadSetting(f"rank {rank}: {one}")
            budgets.append(one)
        return Budget(**{each.name: min(getattr(one, each.name) for one in budgets) for each in fields(Budget)})

    def bytes_for(self, device: torch.device) -> int:
        """The bound in bytes, of each process."""
        neighbours = self.neighbours if device.type == "cpu" else 1
        return self.bound(taken_bytes(device), free_bytes(device), neighbours)


class Task(NamedTuple):
    """Something that every rank does with its share of the model."""

    function: Callable[..., object]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Anew:
    """A `Session` of a split model, which keeps nothing from one part to the next."""

    model: SplitModel

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `Session`."""
        return self.model.answers(requests)

    def close(self) -> None:
        """See `Session`."""


@dataclass(frozen=True)
class SplitModel(LoadedModel):
    """A rank's share of a model, with all else that a model has."""

    ranks: Ranks = field(kw_only=True)

    def answers(self, requests: Iterable[Request]) -> Iterator[Answer]:
        """See `LoadedModel`; asked on rank 0. Raises `LostRank` where another rank is gone, and as `Ranks.task` does."""
        is_over = False
        with self.ranks.task():
            try:
                self._begin(listen)
                yield from loop.answers(self, self._said(requests))
                is_over = True
            except Lost as error:
                self.ranks.lost(error)
            finally:
                if not is_over:
                    self.ranks.abandon()

    def session(self) -> Anew:
        """See `Keeps`."""
        return Anew(self)

    def pictures(self, budget_bytes: int, cache: FeatureCache | None, views: int = VIEWS) -> PictureStore:
        """See `LoadedModel`."""
        return SplitStore(self, self.work, budget_bytes, cache, views, self.ranks)

    def everywhere(self, function: Callable[Concatenate[SplitModel, P], T], *arguments: P.args, **none: P.kwargs) -> T:
        """What a function of a module gives on rank 0, called with the model on all ranks. Raises as `answers` does."""
        with self.ranks.task():
            try:
                self._begin(function, *arguments)
                return function(self, *arguments, **none)
            except Lost as error:
                self.ranks.lost(error)

    def _begin(self, function: Callable[..., object], *arguments: object) -> None:
        with self.ranks.step(Step.TASK):
            self.ranks.said(Task(function, arguments))

    def _said(self, requests: Iterable[Request]) -> Iterator[Request]:
        """The requests, after the others have heard of them."""
        stream = iter(requests)
        while window := list(itertools.islice(stream, loop.WINDOW)):
            with self.ranks.step(Step.WINDOW):
                self.ranks.said([told(request) for request in window])
            yield from window
        with self.ranks.step(Step.WINDOW):
            self.ranks.said([])


def listen(model: SplitModel) -> None:
    """Go along with rank 0's answers."""
    for _ in loop.answers(model, _heard(model.ranks)):
        pass


def _heard(ranks: Ranks) -> Iterator[Request]:
    while True:
        with ranks.step(Step.WINDOW):
            window: list[Request] = ranks.said()
        if not window:
            return
        yield from window


def follow(model: SplitModel) -> NoReturn:
    """Do on another rank than 0 what rank 0 says. Ends this process when rank 0 ends, with 1 where it is gone."""
    ranks = model.ranks
    logging.disable()  # rank 0 says it all
    try:
        while True:
            # What is wrong with a task is wrong on all ranks, and rank 0 tells of it.
            with suppress(Abandoned, LabError):
                with ranks.step(Step.TASK):
                    task: Task = ranks.said()
                task.function(model, *task.arguments)
    except (Lost, KeyboardInterrupt):
        break_off()
        raise SystemExit(1) from None
    finally:
        ranks.leave()
