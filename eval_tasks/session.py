"""What one process does of a run, which may be interrupted and gone on with by others."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from eval_tasks.run_record import to_line
from flamingo_lab.model import Answer, Counts, Model
from leaderboards.records import Run
from leaderboards.store import RunFolder

KEEP_SECONDS = 5.0
"""How often the record of a running run is written."""


class Session:
    """What this process asks of a run. The record of a running run keeps what was counted and how long it took so far.

    A session that is killed loses what it counted since the record was last written, `KEEP_SECONDS` ago at most.
    """

    def __init__(self, model: Model, folder: RunFolder, record: Run, began: float) -> None:
        self.journal = folder.journal
        self._model = model
        self._folder = folder
        self._earlier = record
        self._began = began
        self._planned = self._kept = time.perf_counter()
        self._before = _counted(model)

    @property
    def record(self) -> Run:
        """The run's record with the counts and seconds of this session and those before it."""
        now, earlier = time.perf_counter(), self._earlier
        counters, stages = (
            {name: value - before.get(name, 0) for name, value in held.items()}
            for before, held in zip(self._before, _counted(self._model), strict=True)
        )
        stages = {"plan": self._planned - self._began} | {f"answer: {name}": spent for name, spent in stages.items()}
        return replace(
            earlier,
            seconds=earlier.seconds + now - self._began,
            counters=_sums(earlier.counters, counters),
            stages=_sums(earlier.stages, stages | {"answer": now - self._planned}),
        )

    def append(self, answer: Answer) -> None:
        """Journal an answer, and keep the record every few seconds."""
        self.journal.append(to_line(answer))
        if time.perf_counter() - self._kept > KEEP_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Write the record."""
        self._folder.state(self.record)
        self._kept = time.perf_counter()


def _counted(model: Model) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """What the model has counted so far, and its seconds by stage; nothing of a model that does not tell."""
    return (model.counters(), model.stages()) if isinstance(model, Counts) else ({}, {})


def _sums(earlier: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    return {name: earlier.get(name, 0) + now.get(name, 0) for name in {**earlier, **now}}
