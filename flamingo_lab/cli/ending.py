"""How the verbs that ask end: where the runs are kept, which had too many errors, and the exit code."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flamingo_lab.cli import options

if TYPE_CHECKING:
    from leaderboards.records import Run

TOO_MANY_ERRORS = 3


def ended(runs: Sequence[Run], results: Path, max_error_rate: float, *, asked: str = "questions") -> int:
    """The exit code, after saying on stderr what there is to say; `asked` is what a run has many of."""
    where = f" --results {shlex.quote(str(results))}" if results != options.RESULTS else ""
    for run in runs:
        print(f"saved run {run.run_id[:8]} · look at it: flab show run {run.run_id[:8]}{where}", file=sys.stderr)
    failed = [run for run in runs if run.status != "complete"]
    for run in failed:
        rate = f"{run.n_errors} of {run.n} {asked} have no answer, more than --max-error-rate {max_error_rate:g} allows"
        print(f"error: {run.task}: {rate}; see flab show run {run.run_id[:8]}{where}", file=sys.stderr)
    return TOO_MANY_ERRORS if failed else 0
