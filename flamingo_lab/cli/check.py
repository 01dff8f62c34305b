"""`flab check`: whether a model's files would load, from headers alone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from flamingo_lab.cli import options
from flamingo_lab.cli.show import print_facts

if TYPE_CHECKING:
    from flamingo_lab.composed import Composed
    from flamingo_lab.understanding import Understood
    from flamingo_lab.weights import Matched

EXAMPLE = options.example("flab check flamingo-tiny --plan")

USER_ERROR = 2

NUMBER = re.compile(r"\.\d+(?=\.|$)")

FEW = 4
"""Names that begin alike and are still told one by one."""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("check", epilog=EXAMPLE)(options.with_model(check, is_argument=True))


def check(
    chosen: options.Chosen,
    plan: Annotated[
        bool,
        typer.Option("--plan", help="Show instead on which devices it would run, what that needs, and what there is."),
    ] = False,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    json: options.Json = False,
) -> int:
    """Say whether every tensor has its place and every parameter its tensor, and what memory it takes. Reads no weights."""
    from flamingo_lab import composed, understanding, weights

    if plan:
        from flamingo_lab.cli import planned

        planned.show(chosen, chosen.placing(device, dtype), json)
        return 0
    made = composed.find(chosen.model, ())
    if made is None:
        told = (chosen.model, chosen.weights, chosen.parts, chosen.settings, chosen.template)
        found = [understanding.understand(*told, download=chosen.download)]
    else:
        found = list(_each(made, chosen))
    has_faults = False
    for model in found:
        matched = weights.match(model.vlm, model.sources)
        print_facts(_facts(model, matched), json)
        has_faults |= bool(matched.faults)
    return USER_ERROR if has_faults else 0


def _each(made: Composed, chosen: options.Chosen) -> Iterator[Understood]:
    """The models that one is made of."""
    from flamingo_lab import composed, understanding

    parts = made.parts(chosen.parts)
    for role, listed in made.models.items():
        with composed.as_part(role):
            yield understanding.understand(listed, chosen.parts.get(role), parts[role], download=chosen.download)


def _facts(found: Understood, matched: Matched) -> dict[str, object]:
    from flamingo_lab import hub

    held = [name for tensors, _ in found.sources for name, _ in tensors.items()]
    used = [name for fills in matched.fills for name in fills]
    rest = Counter(held) - Counter(used)
    facts: dict[str, object] = {
        "folder": str(found.folder.path),
        "family": found.family.name,
        "loads": not matched.faults,
        "tensors": len(used),
        "passed over": rest.total(),
        "parameters": found.parameters,
        "memory": hub.memory_needed(found.vlm.architecture),
        "template": found.chosen,
    }
    if rest:
        facts["left over"] = _in_groups(rest)
    if matched.faults:
        facts["faults"] = list(matched.faults)
    return facts


def _in_groups(names: Counter[str]) -> dict[str, int]:
    """How many tensors there are of each name without its numbers; many names that begin alike are one group."""
    forms: dict[str, Counter[str]] = {}
    for name in names.elements():
        form = NUMBER.sub(".N", name)
        forms.setdefault(".".join(form.split(".")[:2]), Counter())[form] += 1
    groups: dict[str, int] = {}
    for beginning, held in forms.items():
        groups |= held if len(held) <= FEW else {f"{beginning}.*": held.total()}
    return groups
