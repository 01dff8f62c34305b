"""`flab results rescore`: stored answers under the present metrics, without a model."""

from __future__ import annotations

import json as jsons
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flamingo_lab.cli import options

if TYPE_CHECKING:
    from eval_tasks.metrics import MetricName
    from eval_tasks.rescore import Rescored


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("rescore", epilog=options.example("flab results rescore 7c1e5a90"))(rescore)


def rescore(
    runs: Annotated[list[str] | None, typer.Argument(help="Runs, by the beginning of their ids.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All finished runs.")] = False,
    results: options.Results = options.RESULTS,
    data: Annotated[Path | None, typer.Option(help="Root folder of the benchmark's own files.")] = None,
    metric: options.Metrics = None,
    json: options.Json = False,
) -> int:
    """Mark stored answers again, after a metric was corrected or by further ones. The old scores stay in the run's folder."""
    from eval_tasks import metrics
    from eval_tasks.errors import TaskError
    from eval_tasks.rescore import rescore as mark_again
    from flamingo_lab.errors import BadSetting
    from leaderboards.errors import ResultsError
    from leaderboards.store import Store

    more = [metrics.named(one) for one in metric or ()]
    store = Store(results)
    if bool(runs) == every:
        raise BadSetting("name runs (flab list runs), or --all")
    wanted = [run.run_id for run in store.runs() if run.status != "running"] if every else (runs or [])
    code = 0
    for run_id in wanted:
        try:
            held = _facts(mark_again(store, run_id, data, more), more)
        except (ResultsError, TaskError) as error:
            if not every:
                raise
            print(f"left out: {error}", file=sys.stderr)
            code = 2
            continue
        sys.stdout.write((jsons.dumps(held, ensure_ascii=False) if json else _line(held)) + "\n")
    return code


def _facts(found: Rescored, more: Sequence[MetricName]) -> dict[str, Any]:
    from leaderboards.records import ALL
    from leaderboards.table import shown

    before, after = found.before.scores[:1], found.after.scores[:1]
    return {
        "run_id": found.after.run_id,
        "task": found.after.task,
        "n": found.after.n,
        "n_changed": found.n_changed,
        "added": list(found.added),
        "before": shown(before[0]) if before else None,
        "after": shown(after[0]) if after else None,
        "further": {
            str(name): shown(score)
            for name in more
            for score in found.after.scores
            if (score.metric, score.variant, score.slice) == (name.metric, name.variant, ALL)
        },
        "kept": None if found.aside is None else str(found.aside),
    }


def _line(held: dict[str, Any]) -> str:
    if held["kept"] is None:
        return f"{held['run_id'][:8]} {held['task']}: nothing changes"
    further = "".join(f", {name} {value}" for name, value in held["further"].items())
    came = f"{held['n']:,} questions scored by {', '.join(held['added'])} too, " if held["added"] else ""
    changed = f"{held['n_changed']:,} changed" if came else f"{held['n_changed']:,} questions changed"
    score = held["after"] if held["before"] == held["after"] else f"{held['before']} -> {held['after']}"
    return (
        f"{held['run_id'][:8]} {held['task']}: {score}{further}; {came}{changed}; the old scores are in {held['kept']}"
    )
