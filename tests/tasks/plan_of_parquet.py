"""Runs a scripted model on a Parquet data set of VQAv2's form and prints the peak of its memory in MiB: FOLDER RESULTS."""

from __future__ import annotations

import sys
from pathlib import Path

from eval_tasks import runner, task
from eval_tasks.plan import Settings
from flamingo_lab import decoding, host
from leaderboards.store import Store
from tests.doubles import Scripted


def main(folder: str, results: str) -> None:
    decoding.keep_at_most(2**20)  # what is decoded is kept up to a bound, which is not what is measured here
    made = runner.run(Scripted(), task.get("vqav2"), Settings(data=Path(folder)), Store(Path(results)))
    print(made.n, host.peak_bytes() / 2**20)


if __name__ == "__main__":
    main(*sys.argv[1:])
