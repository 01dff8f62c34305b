"""`flab check MODEL --plan`: the ways to run a model on this machine, from its configuration alone."""

from __future__ import annotations

import json as jsons
from collections.abc import Iterator
from typing import TYPE_CHECKING

from flamingo_lab.cli import options

if TYPE_CHECKING:
    from pathlib import Path

    from rich.table import Table

    from flamingo_lab.config import Architecture
    from flamingo_lab.placement import Placing
    from flamingo_lab.placement.choice import Choice
    from flamingo_lab.placement.plan import Plan


def show(chosen: options.Chosen, placing: Placing, as_json: bool) -> None:
    """Print all ways that are left by the options, and which one is taken. Raises `BadSetting` where none can be."""
    import torch

    from flamingo_lab import composed
    from flamingo_lab.engine.budget import Room
    from flamingo_lab.placement.devices import here
    from flamingo_lab.placement.plan import plan
    from flamingo_lab.quant import copy
    from flamingo_lab.vlm import VLM

    room = Room.of(chosen.memory, chosen.batch_tokens)
    is_part = composed.find(chosen.model, ()) is not None
    machine = here()
    for name, folder, built in _architectures(chosen):
        with torch.device("meta"):
            vlm = VLM(built)
        planned = plan(vlm, copy.placing(folder, placing), machine, room, is_part=is_part, is_whole=True)
        if as_json:
            rows = [{**one.facts(), "taken": one is planned.taken} for one in planned.choices]
            print(jsons.dumps({"model": name, "choices": rows}))
        else:
            options.console().print(table(name, planned))
        said = planned.reason if planned.chosen.fits else planned.shortness
        if not as_json:
            print(f"{said}\nThis asks for it: {planned.chosen.options}")


def _architectures(chosen: options.Chosen) -> Iterator[tuple[str, Path, Architecture]]:
    """A model, or those that one is made of: as its files say, and as it is listed where they are not on this machine."""
    from flamingo_lab import composed, families, hub, understanding
    from flamingo_lab.errors import MissingModel
    from flamingo_lab.family import Folder

    made = composed.find(chosen.model, ())
    if made is None:
        asked = [(chosen.model, chosen.weights, chosen.parts)]
    else:
        parts = made.parts(chosen.parts)
        asked = [(listed, chosen.parts.get(role), parts[role]) for role, listed in made.models.items()]
    for name, weights, parts in asked:
        try:
            folder, family = understanding.find(
                name, weights=weights, parts=parts, options=chosen.settings, download=chosen.download
            )
        except MissingModel:
            size = hub.listed(name)
            if size is None or weights is not None:
                raise
            folder = Folder.listed(size)
            family = families.listing(size)
        yield name, folder.path, understanding.architecture(folder, family)


def table(name: str, planned: Plan) -> Table:
    """The ways as rows. Of several devices the one with the least to spare is shown."""
    from rich.table import Table

    tokens = planned.choices[0].planned
    made = Table(title=f"{name}: weights, and room for a prompt of {tokens} tokens, in GiB", title_justify="left")
    for column in ("runs on", "form"):
        made.add_column(column)
    for column in ("weights", "program", "prompt", "needs", "there is"):
        made.add_column(column, justify="right")
    made.add_column("")
    for choice in planned.choices:
        share = choice.tightest
        figures = (*share.needs, share.needs.total, share.there)
        each = " (each)" if choice.slices > 1 else ""
        made.add_row(
            choice.name + each, str(choice.form), *map(_gib, figures), _said(choice, is_taken=choice is planned.taken)
        )
    return made


def _said(choice: Choice, *, is_taken: bool) -> str:
    """Whether a way fits, and what it lacks otherwise."""
    if choice.fits:
        return "taken" if is_taken else "fits"
    if choice.tokens:
        lacks = f"prompts of {choice.tokens} tokens at most"
        return f"taken; {lacks}" if is_taken else lacks
    return f"lacks {_gib(-choice.tightest.spare)}"


def _gib(count: int) -> str:
    from flamingo_lab.engine.budget import GIB

    return f"{count / GIB:.2f}"
