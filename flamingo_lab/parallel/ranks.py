"""The processes of one model: what they send each other, and how they stay together when one of them fails.

Rank 0 leads. Before anything is done together it says what, and who does not expect that ends the run instead of waiting.
Behind every pass the ranks agree whether all of them made it: otherwise all fail in the same way, and the engine asks again
by halves on each of them.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import Any, NoReturn, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from flamingo_lab.engine.loop import is_want_of_memory
from flamingo_lab.errors import BadSetting, LostRank
from flamingo_lab.parallel.patience import DEATH_SECONDS, FOREVER, READING, TIMEOUT, break_off, part, patience

T = TypeVar("T")


class Step(IntEnum):
    """What the ranks are about to do together."""

    TASK = 1
    WINDOW = 2
    PICTURES = 3
    PASS = 4
    LOGITS = 5
    ABANDON = 6
    END = 7


class Lost(BaseException):
    """Another rank is gone. No `Exception`, so that the engine does not take it for the fault of a question."""


class Abandoned(BaseException):
    """Rank 0 wants no more answers to what it asked. No `Exception`, for the same reason."""


class Child(Protocol):
    """A process that this one has started."""

    def why(self) -> str | None:
        """Why it has ended, None while it runs."""
        ...

    def end(self) -> None:
        """Let it end by itself, and end it where it does not."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


class Ranks:
    """Made on every rank, behind `init_process_group`. `owns`: whether the process group ends with it."""

    def __init__(self, children: Sequence[Child] = (), *, owns: bool = False) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self._children = children
        self._owns = owns
        self._words = dist.new_group(backend="gloo", timeout=patience(self.rank))
        self._files = dist.new_group(backend="gloo", timeout=READING if self.leads else FOREVER)
        self._task = threading.Lock()
        self._is_together = True
        self.is_over = False
        self._issued = 0
        self._missed: tuple[int, torch.Size] | None = None

    @property
    def leads(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    # What tensors go through within a pass.

    def sum(self, x: Tensor) -> Tensor:
        """x (..., D), to which the other ranks' is added in place."""
        if (zeros := self._made_up(x)) is not None:
            self._do(dist.all_reduce, zeros)
        elif self._missed is None:
            self._do(dist.all_reduce, x)
        return x

    def gather(self, x: Tensor) -> list[Tensor]:
        """x (..., D) of every rank."""
        parts = [torch.empty_like(x) for _ in range(self.count)]
        own = x.contiguous()
        if (zeros := self._made_up(x)) is not None:
            self._do(dist.all_gather, [torch.empty_like(zeros) for _ in range(self.count)], zeros)
        elif self._missed is None:
            self._do(dist.all_gather, parts, own)
        return parts

    def spread(self, x: Tensor) -> Tensor:
        """x of rank 0, into that of the others."""
        self._do(dist.broadcast, x, src=0)
        return x

    def _made_up(self, x: Tensor) -> Tensor | None:
        """What is sent in place of x where this rank has failed and the others still wait for what it would have sent."""
        self._issued += 1
        if self._missed is None or self._issued <= self._missed[0]:
            return None
        return x.new_zeros((*self._missed[1], x.shape[-1]))

    # What is done together.

    @contextmanager
    def task(self) -> Generator[None]:
        """Something that is asked of the model on rank 0. Raises `BadSetting` while something else is."""
        if not self._task.acquire(blocking=False):
            raise BadSetting(
                "a model that is split over several processes answers one call at a time; take the answers of the "
                "first to their end, or close it, before the next"
            )
        try:
            yield
        finally:
            self._task.release()

    def run(self, step: Step, mark: int, body: Callable[[], T], again: Callable[[], object], batch: torch.Size) -> T:
        """What `body` gives, or the same kind of failure on all ranks.

        again: does the same as `body` for a batch of one token; by it a rank that failed learns what else it has to send.
        batch: the leading sizes of what is sent.
        """
        self._go(step, mark)
        self._issued = 0
        result: T | None = None
        failure: Exception | None = None
        try:
            result = body()
        except Exception as error:
            # Without its traceback, which holds on to what filled the memory.
            failure = error.with_traceback(None) if is_want_of_memory(error) else error
        if failure is not None:
            self._make_up(failure, again, batch)
        self._agree(failure)
        return result  # pyright: ignore[reportReturnType] - there is one where nothing failed

    def _make_up(self, failure: Exception, again: Callable[[], object], batch: torch.Size) -> None:
        """Send what the others still wait for. Raises `Lost` where even one token fails, which is no question's fault."""
        self._missed, self._issued = (self._issued, batch), 0
        try:
            again()
        except Exception:
            print(f"{type(failure).__name__}: {failure}", file=sys.stderr)
            raise Lost(f"rank {self.rank} failed: {failure}") from failure
        finally:
            self._missed = None

    def _agree(self, failure: Exception | None) -> None:
        """Return if all made it. Otherwise raise: for want of memory where that is all that was wrong."""
        own = 0 if failure is None else 1 if is_want_of_memory(failure) else 2
        worst = torch.tensor([own])
        self._do(dist.all_reduce, worst, op=dist.ReduceOp.MAX, group=self._words)
        self._is_together = True
        if not int(worst):
            return
        told = self.exchange((own, str(failure)))
        if failure is not None and own == int(worst):
            raise failure
        text = next(f"rank {rank}: {text}" for rank, (code, text) in enumerate(told) if code == int(worst))
        raise torch.OutOfMemoryError(text) if int(worst) == 1 else RuntimeError(text)

    @contextmanager
    def step(self, step: Step) -> Generator[None]:
        """Something that rank 0 says and the others hear."""
        self._go(step, 0)
        yield
        self._is_together = True

    def said(self, value: T | None = None) -> T:
        """What rank 0 says, on every rank."""
        box = [value]
        self._do(dist.broadcast_object_list, box, src=0, group=self._words)
        return box[0]  # pyright: ignore[reportReturnType] - the others give None, and get what rank 0 gave

    def have_read(self) -> None:
        """Wait until all ranks have their weights."""
        self._is_together = False
        self._do(dist.barrier, group=self._files)
        self._is_together = True

    def exchange(self, value: T) -> list[T]:
        """Every rank's value, by rank."""
        self._is_together = False
        told: list[Any] = [None] * self.count
        self._do(dist.all_gather_object, told, value, group=self._words)
        self._is_together = True
        return told

    def _go(self, step: Step, mark: int) -> None:
        """Rank 0 says what comes next; the others check that they are at the same place. mark: of what is computed there."""
        if self.is_over:
            raise LostRank("the model's other processes are gone; load it again")
        self._is_together = False
        told = torch.tensor([step, mark])
        self._do(dist.broadcast, told, src=0, group=self._words)
        if self.leads:
            return
        if int(told[0]) == Step.ABANDON:
            raise Abandoned
        if int(told[0]) == Step.END:
            raise SystemExit(0)
        if told.tolist() != [step, mark]:
            theirs = Step(int(told[0]))
            print(f"rank 0 is at {theirs.name}, this one at {step.name}: short of memory?", file=sys.stderr)
            raise Lost(f"rank {self.rank} is not where rank 0 is")

    def _do(self, collective: Callable[..., object], *arguments: object, **settings: object) -> None:
        try:
            collective(*arguments, **settings)
        except RuntimeError as error:
            raise Lost(self._reason(error)) from None

    def _reason(self, error: RuntimeError) -> str:
        """What became of another rank, as far as it can be known."""
        until = time.monotonic() + DEATH_SECONDS
        while self._children and time.monotonic() < until:
            if why := next((why for child in self._children if (why := child.why())), None):
                return why
            time.sleep(0.05)
        text = str(error).splitlines()[0]
        if "Timed out" in text:
            return f"rank {self.rank} waited {TIMEOUT.total_seconds():.0f} s for another one"
        return f"rank {self.rank} lost " + (
            "the connection to another one" if "onnection" in text else f"the others: {text}"
        )

    # How it ends.

    def abandon(self) -> None:
        """On rank 0, where an answer is no longer wanted: bring the others back to where they wait for a task."""
        if self.is_over:
            return
        if not self._is_together:
            self.abort()
            return
        try:
            self._go(Step.ABANDON, 0)
            self._is_together = True
        except Lost:
            self.abort()

    def close(self) -> None:
        """On rank 0: let the others end."""
        if self.is_over:
            return
        if not self._is_together:
            self.abort()
            return
        self.is_over = True
        with suppress(Lost):
            self._do(dist.broadcast, torch.tensor([Step.END, 0]), src=0, group=self._words)
        for child in self._children:
            child.end()
        self.leave()

    def abort(self) -> None:
        """End without a word: the others may be in the midst of something."""
        self.is_over = True
        for child in self._children:
            child.kill()
        break_off()

    def leave(self) -> None:
        """Let go of this model's connections."""
        self.is_over = True
        if self._owns:
            part()
        elif dist.is_initialized():
            for group in (self._words, self._files):
                assert isinstance(group, dist.ProcessGroup), "every rank is in its own groups"
                dist.destroy_process_group(group)

    def lost(self, error: Lost) -> NoReturn:
        """Turn the loss into one line. Raises `LostRank`."""
        self.abort()
        raise LostRank(f"{error}; what was answered is kept, and the same command goes on") from None
