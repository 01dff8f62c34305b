"""Evaluates a scripted model in a process of its own: RESULTS LOG DELAY_SECONDS LIMIT."""

from __future__ import annotations

import sys
from pathlib import Path

from eval_tasks import runner, task
from eval_tasks.plan import Settings
from leaderboards.store import Store
from tests.doubles import Scripted


def main(results: str, log: str, delay_seconds: str, limit: str) -> None:
    model = Scripted(log=Path(log), delay_seconds=float(delay_seconds))
    settings = Settings(num_fewshot=2, limit=int(limit))
    runner.run(model, task.get("shapes-binding"), settings, Store(Path(results)))


if __name__ == "__main__":
    main(*sys.argv[1:])
