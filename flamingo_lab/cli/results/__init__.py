"""`flab results`: the leaderboard, comparisons, and what is done with stored runs. One file a verb."""

from __future__ import annotations

import typer

from flamingo_lab.cli import options
from flamingo_lab.cli.results import compare, delete, export, merge, rescore, table

app = typer.Typer(
    help="The leaderboard, comparisons of runs, and what is done with stored runs.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog=options.example("flab results table --matrix"),
)
for module in (table, compare, rescore, export, merge, delete):
    module.register(app)
