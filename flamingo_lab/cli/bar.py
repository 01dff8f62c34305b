"""What a run says while it goes on: what is about to happen, then a progress bar, both on stderr."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from eval_tasks.plan import Plan
    from eval_tasks.runner import Progress
    from eval_tasks.shots import Looked


class Bar(NamedTuple):
    """What is called with a run's plan, with each of its answers, and before it, while its questions are made ready."""

    say: Callable[[Plan], None]
    report: Progress
    looked: Looked


@contextmanager
def bar(name: str, state: Callable[[], str] = lambda: "") -> Generator[Bar]:
    """The bar of a run of this name, drawn where stderr is a terminal; `state` says what else there is to say beside it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True, markup=False, highlight=False)
    columns = (
        TextColumn(name),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TextColumn("{task.fields[errors]} errors{task.fields[state]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        drawn = progress.add_task(name, total=None, errors=0, speed="", state="")
        # A line of its own: what is made ready comes much faster than answers, and would spoil their rate.
        before = progress.add_task(name, total=None, errors=0, speed="", state="", visible=False)

        def say(plan: Plan) -> None:
            console.print(f"{name}: {len(plan.asked)} questions, {_shots(plan)}, {plan.how} · run {plan.run_id[:8]}")

        kept: int | None = None

        def report(done: int, total: int, errors: int) -> None:
            nonlocal kept
            kept = done if kept is None else kept  # of an earlier process
            task = progress.tasks[0]
            # What stays on the screen is the whole run's rate, as in the table below it.
            speed = (done - kept) / task.elapsed if done == total and task.elapsed else task.speed
            beside = state() and f" · {state()}"
            progress.update(before, visible=False)
            progress.update(
                drawn,
                completed=done,
                total=total,
                errors=errors,
                speed=f"{speed or 0:,.0f} q/s",
                state=beside,
                visible=True,
            )

        def looked(what: str, done: int, total: int) -> None:
            progress.update(drawn, visible=False)
            progress.update(before, completed=done, total=total, speed=what, visible=True)

        yield Bar(say, report, looked)


def _shots(plan: Plan) -> str:
    count, selection = plan.settings.num_fewshot, plan.settings.shot_selection
    if not count:
        return "no shots"
    return f"{count} shots" + ("" if selection == "random" else f" ({selection})")
