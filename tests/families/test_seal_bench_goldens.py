"""The whole V*Bench evaluation of SEAL, from the question to the accuracy: goldens whose `load` names both models."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import flamingo_lab as fl
from flamingo_lab.search.guided import Settings
from flamingo_lab.search.vstar import VStar
from tests.families.seal_searches import parser
from tests.folders import GOLDENS


def found() -> list[Any]:
    """Every case of every golden of the combined model."""
    cases: list[Any] = []
    for file in sorted(GOLDENS.glob("*/golden.json")):
        facts = json.loads(file.read_text(encoding="utf-8"))
        if facts["load"].keys() >= {"vqa", "vsm"}:
            cases += [
                pytest.param(file.parent, case["name"], id=f"{facts['name']}-{case['name']}") for case in facts["cases"]
            ]
    return cases


CASES = found()

pytestmark = pytest.mark.skipif(not CASES, reason=f"no goldens of the combined model under FLAB_GOLDENS ({GOLDENS})")


@cache
def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "golden.json").read_text(encoding="utf-8"))


def case_of(folder: Path, name: str) -> dict[str, Any]:
    return next(case for case in facts(folder)["cases"] if case["name"] == name)


@cache
def loaded(folder: Path) -> VStar:
    given = {role: folder / path for role, path in facts(folder)["load"].items()}
    model = fl.load("seal", dtype="float32", device="cpu", **given)
    assert isinstance(model, VStar)
    return model


@dataclass(frozen=True)
class Asked:
    """A question of the benchmark, asked."""

    image: Path
    options: tuple[str, ...]
    answer: fl.Answer

    @property
    def trace(self) -> Any:
        return self.answer.trace

    @property
    def chosen(self) -> int:
        return self.options.index(self.answer.text)

    @property
    def final_size(self) -> list[int]:
        """Of the picture as it goes to the processor that crops it."""
        width, height = Image.open(self.image).size
        return [max(width, height)] * 2 if self.trace["is_padded"] else [width, height]


def model_of(folder: Path, options: dict[str, Any]) -> VStar:
    names = options.keys() & Settings.__dataclass_fields__.keys()
    settings = Settings(**{name: options[name] for name in names}, **options.get("thresholds", {}))
    return replace(loaded(folder), settings=settings, parse=parser(options.get("parses", {})))


@cache
def asked(folder: Path, name: str) -> Asked:
    options = case_of(folder, name)["options"]
    return ask(model_of(folder, options), folder / options["image"], folder / options["annotation"])


def ask(model: VStar, image: Path, annotation: Path) -> Asked:
    row = json.loads(annotation.read_text(encoding="utf-8"))
    choices = tuple(row["options"])
    request = fl.Request(
        annotation.stem, fl.Prompt.ask(fl.Image(image), row["question"]), fl.Rank(choices, normalise="mean", ends=True)
    )
    (answer,) = model.answers([request])
    assert answer.error is None
    return Asked(image, choices, answer)


def searches(one: Asked) -> list[dict[str, Any]]:
    return [
        {
            "target": search["target"],
            "path_length": search["path_length"],
            "successful": search["is_found"],
            "boxes": search["instances"],
            "final": search["path"][search["final"]]["patch"],
        }
        for search in one.trace["searches"]
    ]


STAGES: dict[str, Callable[[Asked], Any]] = {
    "text": lambda one: one.trace["first_answer"],
    "missing_objects": lambda one: one.trace["missing"],
    "searches": searches,
    "search_names": lambda one: [shown["name"] for shown in one.trace["shown"]],
    "search_boxes": lambda one: np.array([shown["box"] for shown in one.trace["shown"]]),
    "final_question": lambda one: one.trace["question"],
    "final_image_size": lambda one: one.final_size,
    "option_losses": lambda one: -np.array(one.answer.option_logprobs),
    "option_chosen": lambda one: one.chosen,
    "correct": lambda one: int(one.chosen == 0),
}


def accuracy(folder: Path, options: dict[str, Any]) -> dict[str, float]:
    """Of every kind of question, and over all, from a benchmark's own folder."""
    model = model_of(folder, options)
    kinds: dict[str, list[float]] = {}
    for annotation in sorted((folder / options["folder"]).glob("*/*.json")):
        (image,) = (file for file in annotation.parent.glob(f"{annotation.stem}.*") if file.suffix != ".json")
        kinds.setdefault(annotation.parent.name, []).append(float(ask(model, image, annotation).chosen == 0))
    every = [one for scores in kinds.values() for one in scores]
    return {kind: sum(scores) / len(scores) for kind, scores in kinds.items()} | {"overall": sum(every) / len(every)}


@pytest.mark.parametrize(("folder", "name"), CASES)
def test_golden_evaluation_stages_are_equal(folder: Path, name: str) -> None:
    case = case_of(folder, name)
    tensors = load_file(folder / "expected.safetensors")
    for stage, expected in case["expect"].items():
        if stage == "accuracy":
            assert accuracy(folder, case["options"]) == pytest.approx(expected)
            continue
        computed = STAGES[stage](asked(folder, name))
        if isinstance(expected, dict) and "tensor" in expected:
            stored = tensors[expected["tensor"]]
            assert computed.shape == stored.shape, stage
            assert np.abs(computed - stored).max() <= facts(folder)["tolerance"], stage
        else:
            assert computed == expected, stage
