"""Models as the pages order and name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from leaderboards.entrants import Model, model
from leaderboards.records import Run
from leaderboards.tasks import Task


def models(runs: Sequence[Run]) -> list[Model]:
    """All models, by name and then by when they were first run."""
    first: dict[Model, str] = {}
    for run in sorted(runs, key=lambda run: run.created):
        first.setdefault(model(run), run.created)
    return sorted(first, key=lambda one: (one.name, first[one]))


def run_label(run: Run, names: Mapping[Model, str], tasks: Mapping[Task, str] | None = None) -> str:
    """A run in one line, with its task where `tasks` says what that is called."""
    shots = "1 shot" if run.num_fewshot == 1 else f"{run.num_fewshot} shots"
    seed = f"seed {run.seed}" if run.seed else ""
    task = tasks[run.task, run.split] if tasks else ""
    return " · ".join(filter(None, (names[model(run)], task, shots, seed, run.run_id[:8])))
