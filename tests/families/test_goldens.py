"""Equal to the authors' code, stage by stage, for every golden of a family that is here."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import flamingo_lab as fl
from flamingo_lab.engine import loop, reference
from flamingo_lab.engine.plan import job
from flamingo_lab.loaded import LoadedModel
from tests.families.goldens import Case, Golden, Row, found
from tests.folders import GOLDENS

FOUND = found(GOLDENS)

pytestmark = pytest.mark.skipif(not FOUND, reason=f"no goldens under FLAB_GOLDENS ({GOLDENS})")


def rows() -> list[Any]:
    return [
        pytest.param(golden, name, number, id=f"{golden.folder.name}-{name}-{number}")
        for golden in FOUND
        for name, case in golden.cases.items()
        for number in range(len(case.rows))
    ]


def runs() -> list[Any]:
    return [
        pytest.param(golden, name, run, id=f"{golden.folder.name}-{name}-{run}")
        for golden in FOUND
        for name, case in golden.cases.items()
        for run in case.runs
    ]


def pixel_values(model: LoadedModel, row: Row, case: Case) -> Tensor:
    return torch.stack([torch.from_numpy(model.pipeline(image.load())) for image in row.prompt.images])


def vision_features(model: LoadedModel, row: Row, case: Case) -> Tensor:
    return model.vlm.tower(pixel_values(model, row, case))


def image_embeds(model: LoadedModel, row: Row, case: Case) -> Tensor:
    return model.vlm.encode(pixel_values(model, row, case))


def image_attention_mask(model: LoadedModel, row: Row, case: Case) -> Tensor:
    slots = max(1, max(len(other.prompt.images) for other in case.rows))
    sees = torch.tensor(model.renderer.render(row.prompt).sees)
    return (sees[:, None] == torch.arange(slots)).float()


def logits(model: LoadedModel, row: Row, case: Case) -> Tensor:
    ready = job(model, request(row, {"max_new_tokens": 1}))
    return reference.logits(model, ready.ids, ready.sees, reference.picture_tokens(model, ready))


STAGES: dict[str, Callable[[LoadedModel, Row, Case], Tensor]] = {
    function.__name__: function
    for function in (pixel_values, vision_features, image_embeds, image_attention_mask, logits)
}

OF_RUNS = ("generated_ids", "text", "sequences_score")


def request(row: Row, settings: dict[str, Any], name: str = "golden") -> fl.Request:
    known = {"max_new_tokens", "min_new_tokens", "num_beams", "length_penalty", "stop", "bad_words"}
    assert settings.keys() <= known, f"settings that this test does not know: {settings.keys() - known}"
    beams = settings.get("num_beams", 1)
    return fl.Request(
        name,
        row.prompt,
        decoding=fl.Beam(beams, settings.get("length_penalty", 1.0)) if beams > 1 else fl.Greedy(),
        max_new_tokens=settings["max_new_tokens"],
        min_new_tokens=settings.get("min_new_tokens", 0),
        forbidden=tuple(settings.get("bad_words", ())),
    )


@cache
def generated(golden: Golden, name: str, run: str, engine: str) -> list[fl.Answer]:
    case = golden.cases[name]
    requests = [request(row, case.runs[run], str(number)) for number, row in enumerate(case.rows)]
    if engine == "reference":
        return [reference.answer(golden.model, asked) for asked in requests]
    return sorted(loop.answers(golden.model, requests), key=lambda answer: int(answer.id))


@pytest.mark.parametrize(("golden", "name", "number"), rows())
def test_golden_prompt_renders_to_the_authors_text_and_ids(golden: Golden, name: str, number: int) -> None:
    row = golden.cases[name].rows[number]
    rendered = golden.model.renderer.render(row.prompt)
    assert list(rendered.ids) == row.input_ids
    if row.rendered is not None:
        assert rendered.text == row.rendered


@pytest.mark.parametrize(("golden", "name", "number"), rows())
def test_golden_stages_are_equal(golden: Golden, name: str, number: int) -> None:
    case = golden.cases[name]
    for stage, expected in case.rows[number].expect.items():
        run, _, field = stage.rpartition(".")
        if field in OF_RUNS and (run in case.runs):
            continue  # test_golden_generations_are_equal
        assert stage in STAGES, f"a stored stage that this test does not know: {stage}"
        with torch.no_grad():
            computed = STAGES[stage](golden.model, case.rows[number], case).numpy()
        assert computed.shape == expected.shape, stage
        difference = float(np.abs(computed - expected).max()) if expected.size else 0.0
        assert difference <= golden.tolerance, f"{stage}: largest difference {difference}"


@pytest.mark.parametrize("engine", ["reference", "loop"])
@pytest.mark.parametrize(("golden", "name", "run"), runs())
def test_golden_generations_are_equal(golden: Golden, name: str, run: str, engine: str) -> None:
    prefix = f"{run}." if run else ""
    for row, answer in zip(golden.cases[name].rows, generated(golden, name, run, engine), strict=True):
        assert answer.error is None
        assert list(answer.token_ids) == row.expect[f"{prefix}generated_ids"]
        assert answer.text == row.expect[f"{prefix}text"]
        if f"{prefix}sequences_score" in row.expect:
            assert answer.logprob == pytest.approx(row.expect[f"{prefix}sequences_score"], abs=golden.tolerance)


@pytest.mark.parametrize(("golden", "name"), [(g, n) for g in FOUND for n, c in g.cases.items() if c.padded_input_ids])
def test_golden_batches_are_padded_on_the_left(golden: Golden, name: str) -> None:
    case = golden.cases[name]
    jobs = [job(golden.model, request(row, {"max_new_tokens": 1})) for row in case.rows]
    ids, real = loop.padded([ready.ids for ready in jobs], torch.device("cpu"), left=True)
    assert ids.tolist() == case.padded_input_ids
    assert real.int().tolist() == case.attention_mask
