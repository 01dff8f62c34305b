"""The whole V*Bench evaluation of SEAL, from the question to the accuracy: goldens whose `load` names both models."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import flamingo_lab as fl
from flamingo_lab.search.guided import Settings
from flamingo_lab.search.vstar import VStar
from tests.families.goldens import Golden, apart, found, params
from tests.families.seal_searches import parser
from tests.folders import GOLDENS

FOUND = found(GOLDENS, "composed")

pytestmark = pytest.mark.skipif(not FOUND, reason=f"no goldens of the combined model under FLAB_GOLDENS ({GOLDENS})")


@cache
def loaded(golden: Golden) -> VStar:
    given = {role: golden.folder / path for role, path in golden.facts["load"].items()}
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


def model_of(golden: Golden, options: Mapping[str, Any]) -> VStar:
    names = options.keys() & Settings.__dataclass_fields__.keys()
    settings = Settings(**{name: options[name] for name in names}, **options.get("thresholds", {}))
    return replace(loaded(golden), settings=settings, parse=parser(options.get("parses", {})))


@cache
def asked(golden: Golden, name: str) -> Asked:
    options = golden.cases[name].options
    return ask(model_of(golden, options), golden.folder / options["image"], golden.folder / options["annotation"])


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


def accuracy(golden: Golden, options: Mapping[str, Any]) -> dict[str, float]:
    """Of every kind of question, and over all, from a benchmark's own folder."""
    model = model_of(golden, options)
    kinds: dict[str, list[float]] = {}
    for annotation in sorted((golden.folder / options["folder"]).glob("*/*.json")):
        (image,) = (file for file in annotation.parent.glob(f"{annotation.stem}.*") if file.suffix != ".json")
        kinds.setdefault(annotation.parent.name, []).append(float(ask(model, image, annotation).chosen == 0))
    every = [one for scores in kinds.values() for one in scores]
    return {kind: sum(scores) / len(scores) for kind, scores in kinds.items()} | {"overall": sum(every) / len(every)}


@pytest.mark.parametrize(("golden", "name", "stage"), params(FOUND, lambda case: case.rows[0].stages))
def test_golden_evaluation_stages_are_equal(golden: Golden, name: str, stage: str) -> None:
    case = golden.cases[name]
    is_whole = stage == "accuracy"
    assert is_whole or stage in STAGES, f"a stored stage that no test knows: {stage}"
    computed = accuracy(golden, case.options) if is_whole else STAGES[stage](asked(golden, name))
    assert apart(computed, case.rows[0].stages[stage]) <= golden.tolerance
