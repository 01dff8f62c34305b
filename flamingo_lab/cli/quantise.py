"""`flab quantise`: a copy of a model with its matrices in fewer bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flamingo_lab.cli import options
from flamingo_lab.cli.show import print_facts

EXAMPLE = options.example("flab quantise flamingo-tiny --quant int8 --to flamingo-tiny-int8")

OF_ANSWERS = ("template", "tensor_parallel", "offload", "router_noise", "memory", "batch_tokens")
"""Options of models that are asked, which a copy is given when it is."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("quantise", epilog=EXAMPLE)(options.with_model(quantise, is_argument=True, without=OF_ANSWERS))


def quantise(
    chosen: options.Chosen,
    to: Annotated[Path, typer.Option(help="Folder of the copy, which must not be there yet.")],
    json: options.Json = False,
) -> None:
    """Write a copy of a model with the decoder's and the tower's matrices in int8 or int4, to be loaded like any folder.

    Its answers are those of the model with the same --quant. It is written wholly or not at all.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from flamingo_lab import composed, hub, understanding
    from flamingo_lab.errors import BadSetting
    from flamingo_lab.quant import FORMS, check_form, copy

    if chosen.quant is None:
        raise BadSetting(f"--quant: say which form the copy has, {' or '.join(FORMS)}")
    check_form(chosen.quant)
    made = composed.find(chosen.model, ())
    if made is not None:
        raise BadSetting(f"{made.name} is made of {' and '.join(made.models.values())}: quantise these one by one")
    found = understanding.understand(
        chosen.model, chosen.weights, chosen.parts, chosen.settings, download=chosen.download
    )
    console = Console(stderr=True, markup=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(chosen.quant, total=None)
        written = copy.write(
            found, chosen.quant, to, lambda done, total: progress.update(bar, completed=done, total=total)
        )
    facts = {
        "folder": str(written.folder),
        "quantisation": chosen.quant,
        "matrices": written.matrices,
        "bytes": written.bytes,
        "bytes published": written.published_bytes,
    }
    if not json:
        facts |= {"bytes": hub.gib(written.bytes), "bytes published": hub.gib(written.published_bytes)}
    print_facts(facts, json)
