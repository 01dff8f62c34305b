"""`flab lm-eval`: lm-eval asks its tasks of a model of ours, and the results land in our store."""

from __future__ import annotations

import json as jsons
import shlex
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flamingo_lab.cli import options
from flamingo_lab.cli.ending import ended

if TYPE_CHECKING:
    from eval_tasks.lm_eval.running import Grouped
    from eval_tasks.runner import Progress
    from leaderboards.records import Run

EXAMPLE = options.example("flab lm-eval --model idefics-9b --tasks hellaswag,mmmu_val --download")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("lm-eval", epilog=EXAMPLE)(options.with_model(lm_eval))


def lm_eval(
    chosen: options.Chosen,
    tasks: Annotated[str, typer.Option(help="lm-eval's tasks, groups and tags, or YAML files; commas between.")],
    include_path: Annotated[list[Path] | None, typer.Option(help="Folder of more YAML files; may be repeated.")] = None,
    num_fewshot: Annotated[int | None, typer.Option(min=0, help="Worked examples; the task's own by default.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many documents of each task.")] = None,
    apply_chat_template: Annotated[
        bool, typer.Option("--apply-chat-template", help="Ask in the model's template, worked examples as turns.")
    ] = False,
    system_instruction: Annotated[str | None, typer.Option(help="What the system says first.")] = None,
    gen_kwargs: Annotated[
        str | None, typer.Option(help="NAME=VALUE, commas between: put over the tasks' settings of generation.")
    ] = None,
    results: options.Results = options.RESULTS,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    seed: Annotated[int | None, typer.Option(help="Of worked examples and of sampling; lm-eval's by default.")] = None,
    max_error_rate: Annotated[float, typer.Option(min=0, max=1, help="More errors than this share: exit 3.")] = 0.01,
    json: options.Json = False,
) -> int:
    """Ask a model lm-eval's tasks, word for word as lm-eval asks them. Interrupted, the same command goes on."""
    from eval_tasks.lm_eval import harness
    from leaderboards.store import Store

    began = datetime.now(UTC)
    generation = _generation(gen_kwargs)
    names = [name.strip() for name in tasks.split(",")]
    loaded = harness.load(names, include_path or (), download=chosen.download)
    from eval_tasks.lm_eval import running

    told: dict[str, Any] = {} if seed is None else {"seed": seed}
    settings = running.Settings(
        num_fewshot=num_fewshot,
        limit=limit,
        chat=apply_chat_template,
        system=system_instruction,
        generation=generation,
        max_error_rate=max_error_rate,
        **told,
    )
    store = Store(results)
    model = chosen.load(device, dtype)
    command = shlex.join(["flab", *sys.argv[1:]])
    runs: list[Run] = []
    for name, task in loaded.tasks.items():
        with _bar(name) as (say, progress):
            runs.append(running.run(model, task, settings, store, command=command, planned=say, progress=progress))
    _show(runs, running.grouped(loaded.groups, runs), json)
    return ended(runs, results, max_error_rate, began, asked="documents")


def _show(runs: Sequence[Run], groups: Sequence[Grouped], as_json: bool) -> None:
    """The table of the runs, and a line for each of lm-eval's groups."""
    from leaderboards import table

    rows = table.rows(runs, every_slice=True)
    if as_json:
        sys.stdout.write(table.text(rows, "json"))
        sys.stdout.writelines(jsons.dumps(asdict(group)) + "\n" for group in groups)
        return
    options.console().print(table.rich_table(rows))
    for group in groups:
        print(f"{group.group}  {group.metric}/{group.variant}  {group.value:.4f}  {group.n:,} documents")


def _generation(told: str | None) -> dict[str, Any]:
    """NAME=VALUE, commas between. A value is read as JSON where it is some, else as text. Raises `BadSetting`."""
    from flamingo_lab.errors import BadSetting

    found: dict[str, Any] = {}
    for one in told.split(",") if told else ():
        name, equals, value = one.partition("=")
        if not equals or not name.strip():
            raise BadSetting(f"--gen-kwargs {told}: NAME=VALUE is expected, max_gen_toks=32 for example")
        try:
            found[name.strip()] = jsons.loads(value.lower() if value in ("True", "False") else value)
        except ValueError:
            found[name.strip()] = value
    return found


@contextmanager
def _bar(name: str) -> Generator[tuple[Callable[[str, int], None], Progress]]:
    """What is about to happen, then a progress bar of requests, both on stderr."""
    from rich import progress as bars
    from rich.console import Console

    console = Console(stderr=True, markup=False, highlight=False)
    columns = (bars.TextColumn(name), bars.BarColumn(), bars.MofNCompleteColumn(), bars.TimeElapsedColumn())
    with bars.Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        bar = shown.add_task(name, total=None)

        def say(run_id: str, documents: int) -> None:
            console.print(f"{name}: {documents} documents, asked as lm-eval asks · run {run_id[:8]}")

        yield say, lambda done, total, errors: shown.update(bar, completed=done, total=total)
