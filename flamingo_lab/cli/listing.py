"""`flab list`: the models, tasks, metrics, selections of shots, layouts and runs that there are."""

from __future__ import annotations

import json as jsons
import sys
from collections.abc import Mapping, Sequence

import typer

from flamingo_lab.cli import options

app = typer.Typer(
    help="List models, tasks, metrics, selections of shots, layouts or runs.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog=options.example("flab list models"),
)


@app.command(epilog=options.example("flab list models --json"))
def models(json: options.Json = False) -> None:
    """The models that can be named, and where their files are published."""
    from flamingo_lab import composed, families

    rows = [
        {
            "name": size.name,
            "family": family.name,
            "parameters": size.parameters,
            "from": size.hub or "bundled with this package",
            "licence": size.licence,
        }
        for family, size in families.sizes()
    ]
    together = [
        {
            "name": one.name,
            "family": one.name,
            "parameters": one.parameters,
            "from": " + ".join(one.models.values()),
            "licence": one.sizes[0].licence,
        }
        for one in composed.all_composed()
    ]
    print_rows([*rows, *together], json)


@app.command(epilog=options.example("flab list tasks"))
def tasks(json: options.Json = False) -> None:
    """The benchmarks."""
    from eval_tasks import task

    found = [task.get(name) for name in task.names()]
    rows = [
        {"name": one.name, "title": one.title, "metric": str(one.metrics[0]), "splits": " ".join(one.splits)}
        for one in found
    ]
    print_rows(rows, json)


@app.command(epilog=options.example("flab list metrics"))
def metrics(json: options.Json = False) -> None:
    """The metrics with their variants, the official one first."""
    from eval_tasks import metrics

    rows = [
        {"metric": name, "variant": variant, "about": one.about, "whole": "whole set" if one.needs_all else ""}
        | ({"definition": metrics.definition(name)} if json else {})
        for name in metrics.names()
        for variant, one in metrics.variants(name).items()
    ]
    print_rows(rows, json)


@app.command(epilog=options.example("flab list shots"))
def shots(json: options.Json = False) -> None:
    """The ways to choose worked examples (flab eval --shot-selection)."""
    from eval_tasks import shots

    found = {name: shots.get(name) for name in shots.names()}
    print_rows([{"name": name, "examples": one.title} for name, one in found.items()], json)


@app.command(epilog=options.example("flab list layouts"))
def layouts(json: options.Json = False) -> None:
    """The layouts of prediction files that flab score reads."""
    from eval_tasks.layouts import all_layouts

    print_rows([{"name": name, "form": layout.form} for name, layout in all_layouts().items()], json)


@app.command(epilog=options.example("flab list runs --results results"))
def runs(results: options.Results = options.RESULTS, json: options.Json = False) -> None:
    """The runs in a results folder, the newest first."""
    from flamingo_lab.cli.results.choice import opened
    from leaderboards.entrants import entrant, labels, model

    store = opened(str(results))
    found = store.runs()
    called = labels(map(model, found))
    rows = [
        {
            "run": run.run_id,
            "status": store.standing(run).status if json else str(store.standing(run)),
            "model": run.model if json else called[model(run)],
            "task": run.task,
            **({"shots": run.num_fewshot} if json else {}),
            "protocol": entrant(run).protocol,
            "n": run.n,
            "created": run.created,
        }
        for run in found
    ]
    if not rows:
        print(f"no runs in {results} yet", file=sys.stderr)
    print_rows(rows, json)


def print_rows(rows: Sequence[Mapping[str, object]], as_json: bool) -> None:
    """Rows as aligned columns, or one JSON object a line."""
    if as_json:
        sys.stdout.writelines(jsons.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        return
    texts = [
        {key: f"{value:,}" if isinstance(value, int) else str(value) for key, value in row.items()} for row in rows
    ]
    widths = {key: max(len(key), *(len(row[key]) for row in texts)) for key in (texts[0] if texts else {})}
    heading = [{key: key for key in widths}] if texts else []
    for row in [*heading, *texts]:
        print("  ".join(row[key].ljust(width) for key, width in widths.items()).rstrip())
