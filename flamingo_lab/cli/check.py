"""`flab check`: whether a model's files would load, from headers alone."""

from __future__ import annotations

import typer

from flamingo_lab.cli import options
from flamingo_lab.cli.show import print_facts

EXAMPLE = options.example("flab check flamingo-tiny")

USER_ERROR = 2


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("check", epilog=EXAMPLE)(options.with_model(check, is_argument=True))


def check(chosen: options.Chosen, json: options.Json = False) -> int:
    """Say whether every tensor has its place and every parameter its tensor, and what memory it takes. Reads no weights."""
    from flamingo_lab import hub, loading, weights

    found = loading.understand(chosen.model, chosen.weights, chosen.parts, chosen.settings, download=chosen.download)
    matched = weights.match(found.vlm, found.sources)
    held = sum(1 for tensors, _ in found.sources for _ in tensors.items())
    used = sum(map(len, matched.fills))
    facts: dict[str, object] = {
        "folder": str(found.folder.path),
        "family": found.family.name,
        "loads": not matched.faults,
        "tensors": used,
        "passed over": held - used,
        "parameters": found.parameters,
        "memory": hub.memory_needed(found.parameters),
        "template": found.family.wording(found.folder),
    }
    if matched.faults:
        facts["faults"] = list(matched.faults)
    print_facts(facts, json)
    return USER_ERROR if matched.faults else 0
