"""Models as the pages name them: same name and same weights are one model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from leaderboards.records import Run
from leaderboards.tasks import Task


class Model(NamedTuple):
    """A model that was run: its name, and the digest of all that can change its answers."""

    name: str
    digest: str


def model(run: Run) -> Model:
    """The model of a run."""
    return Model(run.model, run.model_digest)


def models(runs: Sequence[Run]) -> list[Model]:
    """All models, by name and then by when they were first run."""
    first: dict[Model, str] = {}
    for run in sorted(runs, key=lambda run: run.created):
        first.setdefault(model(run), run.created)
    return sorted(first, key=lambda one: (one.name, first[one]))


def labels(runs: Sequence[Run]) -> dict[Model, str]:
    """What each model is called; where two share a name, the beginning of the digest tells them apart."""
    found = models(runs)
    shared = Counter(one.name for one in found)
    return {one: one.name if shared[one.name] == 1 else f"{one.name} · {one.digest[:6]}" for one in found}


def run_label(run: Run, names: Mapping[Model, str], tasks: Mapping[Task, str] | None = None) -> str:
    """A run in one line, with its task where `tasks` says what that is called."""
    shots = "1 shot" if run.num_fewshot == 1 else f"{run.num_fewshot} shots"
    seed = f"seed {run.seed}" if run.seed else ""
    task = tasks[run.task, run.split] if tasks else ""
    return " · ".join(filter(None, (names.get(model(run), run.model), task, shots, seed, run.run_id[:8])))
