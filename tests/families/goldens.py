"""The goldens' format, read: a folder's cases as prompts, and each stored stage with its expectation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

import flamingo_lab as fl
from flamingo_lab import families


@dataclass(frozen=True)
class Row:
    """One sequence of a case: its prompt and what is expected of it, by stage (and run, where there are several)."""

    prompt: fl.Prompt
    rendered: str | None
    input_ids: list[int]
    expect: dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One call of the authors' code: one row, or several asked together."""

    name: str
    rows: list[Row]
    runs: dict[str, dict[str, Any]]
    padded_input_ids: list[list[int]] | None
    attention_mask: list[list[int]] | None


@dataclass(frozen=True)
class Golden:
    """A golden's folder."""

    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        return json.loads((self.folder / "golden.json").read_text(encoding="utf-8"))

    @cached_property
    def tolerance(self) -> float:
        return float(self.facts.get("tolerance", 1e-4))

    @cached_property
    def model(self) -> fl.LoadedModel:
        paths = {key: self.folder / value for key, value in self.facts["load"].items()}
        return fl.load(paths.pop("path"), dtype="float32", device="cpu", **paths)

    @cached_property
    def cases(self) -> dict[str, Case]:
        tensors = load_file(self.folder / "expected.safetensors")
        return {case["name"]: self._case(case, tensors) for case in self.facts["cases"]}

    def _case(self, case: dict[str, Any], tensors: dict[str, np.ndarray]) -> Case:
        expect = {
            stage: tensors[value["tensor"]] if isinstance(value, dict) and "tensor" in value else value
            for stage, value in case["expect"].items()
        }
        generate = dict(case.get("generate", {}))
        runs = generate.pop("runs", {"": {}} if generate else {})
        is_batch = "batch" in case
        rows = [
            Row(
                prompt=self._prompt(parts, case.get("options", {})),
                rendered=case["rendered"][number] if is_batch else case.get("rendered"),
                input_ids=case["input_ids"][number] if is_batch else case["input_ids"],
                expect=dict(_of_row(expect, number if is_batch else None)),
            )
            for number, parts in enumerate(case["batch"] if is_batch else [case["prompt"]])
        ]
        padding = case.get("padded_input_ids"), case.get("attention_mask")
        return Case(case["name"], rows, {name: generate | run for name, run in runs.items()}, *padding)

    def _prompt(self, parts: list[dict[str, str]], options: dict[str, Any]) -> fl.Prompt:
        return fl.Prompt.raw(
            *(fl.Image(self.folder / part["image"]) if "image" in part else part["text"] for part in parts),
            ends_utterances=options.get("add_end_of_utterance_token"),
        )


def _of_row(expect: dict[str, Any], number: int | None) -> Iterator[tuple[str, Any]]:
    """The stages of one row: `logits.0` is row 0's, and a list of generations is a list by row."""
    for stage, value in expect.items():
        if number is None:
            yield stage, value
        elif stage.endswith(f".{number}"):
            yield stage.removesuffix(f".{number}"), value
        elif isinstance(value, list):
            yield stage, value[number]


def found(root: Path) -> list[Golden]:
    """The goldens under a folder whose checkpoint belongs to a family that this package has."""
    goldens: list[Golden] = []
    for facts in sorted(root.glob("*/golden.json")):
        config = facts.parent / "checkpoint" / "config.json"
        if config.is_file():
            held = json.loads(config.read_text(encoding="utf-8"))
            if any(family.matches(held) for family in families.all_families()):
                goldens.append(Golden(facts.parent))
    return goldens
