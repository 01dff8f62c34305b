"""Evaluates a scripted model on a cluster in a process of its own: ADDRESS RESULTS LOG DELAY_SECONDS LIMIT."""

from __future__ import annotations

import sys
from pathlib import Path

from eval_tasks import runner, task
from eval_tasks.plan import Settings
from leaderboards.store import Store
from tests.scale.replicated import start


def main(address: str, results: str, log: str, delay_seconds: str, limit: str) -> None:
    model = start(address, 2, delay_seconds=float(delay_seconds), log=Path(log))
    settings = Settings(num_fewshot=2, limit=int(limit))
    runner.run(model, task.get("shapes-binding"), settings, Store(Path(results)))


if __name__ == "__main__":
    main(*sys.argv[1:])
