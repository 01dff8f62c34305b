"""How the verbs that ask end: where the runs are kept, what is wrong with their scores, and the exit code."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from flamingo_lab.cli import options

if TYPE_CHECKING:
    from leaderboards.records import Run

TOO_MANY_ERRORS = 3


def ended(
    runs: Sequence[Run], results: Path, max_error_rate: float, began: datetime, *, asked: str = "questions"
) -> int:
    """The exit code, after saying on stderr what there is to say; `asked` is what a run has many of."""
    where = f" --results {shlex.quote(str(results))}" if results != options.RESULTS else ""
    for run in runs:
        what = f"{kept(run, began)} · look at it: flab show run {run.run_id[:8]}{where}"
        print("\n".join(filter(None, (partial(run), what))), file=sys.stderr)
    failed = [run for run in runs if run.status != "complete"]
    for run in failed:
        rate = f"{run.n_errors} of {run.n} {asked} have no answer, more than --max-error-rate {max_error_rate:g} allows"
        print(f"error: {run.task}: {rate}; see flab show run {run.run_id[:8]}{where}", file=sys.stderr)
    return TOO_MANY_ERRORS if failed else 0


def kept(run: Run, began: datetime) -> str:
    """Whether a run is a new one, or was finished before the command began."""
    is_found = run.finished is not None and datetime.fromisoformat(run.finished) < began
    return f"found run {run.run_id[:8]}, nothing was asked" if is_found else f"saved run {run.run_id[:8]}"


def partial(run: Run) -> str:
    """That the score is of some of the parts alone, in a run of a task whose score is the mean of all; else nothing."""
    from leaderboards.records import score_of

    there: dict[str, bool] = {}
    for part in run.mean_of if run.scores else ():
        score = score_of(run, f"{run.scores[0].metric}/{run.scores[0].variant}", part)
        there[part] = score is not None and score.value is not None
    if all(there.values()) or not any(there.values()):
        return ""
    has, lacks = (", ".join(part for part, is_there in there.items() if is_there == which) for which in (True, False))
    return f"{run.task}: {lacks} has no answers here; the score is that of {has} alone, not the mean of the parts"
