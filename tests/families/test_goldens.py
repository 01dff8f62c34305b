"""Equal to the authors' code, stage by stage, for every golden of a whole model."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

import flamingo_lab as fl
from flamingo_lab.engine import loop, reference
from flamingo_lab.engine.plan import job
from tests.batches import left_padded
from tests.families.goldens import OF_RUNS, Case, Golden, Row, apart, found, params
from tests.families.in_order import arithmetics
from tests.families.stages import compute
from tests.folders import GOLDENS

FOUND = found(GOLDENS, "model")

pytestmark = pytest.mark.skipif(not FOUND, reason=f"no goldens under FLAB_GOLDENS ({GOLDENS})")

SETTINGS = {"max_new_tokens", "min_new_tokens", "num_beams", "length_penalty", "stop", "bad_words"}


def request(case: Case, row: Row, settings: dict[str, Any], name: str = "golden") -> fl.Request:
    assert settings.keys() <= SETTINGS, f"settings that this test does not know: {settings.keys() - SETTINGS}"
    beams = settings.get("num_beams", 1)
    stop = settings.get("stop", ())
    return fl.Request(
        name,
        row.prompt,
        decoding=fl.Beam(beams, settings.get("length_penalty", 1.0)) if beams > 1 else fl.Greedy(),
        max_new_tokens=settings["max_new_tokens"],
        min_new_tokens=settings.get("min_new_tokens", 0),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        forbidden=tuple(settings.get("bad_words", ())),
        is_cut=True,
        padded_to=len(case.padded_input_ids[0]) if case.padded_input_ids else None,
        padding=case.padding,
    )


def magnified(golden: Golden, case: Case, row: Row, settings: dict[str, Any], answer: fl.Answer) -> float:
    """How many times the error of a beam's score is that of the log-probability in it: its length to the power -penalty."""
    asked = request(case, row, settings)
    is_whole = golden.model(case).beam_counts == "prompt+new"
    length = len(answer.token_ids) + is_whole * (asked.padded_to or answer.prompt_tokens)
    return max(1.0, length ** -settings.get("length_penalty", 1.0))


@cache
def generated(golden: Golden, name: str, run: str, engine: str) -> list[fl.Answer]:
    case = golden.cases[name]
    requests = [request(case, row, dict(case.runs[run]), str(number)) for number, row in enumerate(case.rows)]
    if engine == "reference":
        return [reference.answer(golden.model(case), asked) for asked in requests]
    return sorted(loop.answers(golden.model(case), requests), key=lambda answer: int(answer.id))


@pytest.mark.parametrize(("golden", "name", "number"), params(FOUND, lambda case: range(len(case.rows))))
def test_golden_prompt_renders_to_the_authors_text_and_ids(golden: Golden, name: str, number: int) -> None:
    case = golden.cases[name]
    row = case.rows[number]
    if row.input_ids is None:
        pytest.fail("a whole model's golden without input_ids") if case.runs else None
        return
    rendered = golden.model(case).renderer.render(row.prompt)
    assert list(rendered.ids) == row.input_ids
    if row.rendered is not None:
        assert rendered.text == row.rendered


@pytest.mark.parametrize(("golden", "name", "number"), params(FOUND, lambda case: range(len(case.rows))))
def test_golden_stages_are_equal(golden: Golden, name: str, number: int) -> None:
    case = golden.cases[name]
    row = case.rows[number]
    for stage, expected in row.expect.items():
        run, _, field = stage.rpartition(".")
        if field in OF_RUNS and run in case.runs:
            continue  # test_golden_generations_are_equal
        difference = math.inf
        for arithmetic in arithmetics():
            if difference > golden.tolerance:
                with torch.no_grad(), arithmetic:
                    difference = apart(compute(stage, golden.model(case), case, row), expected)
        assert difference <= golden.tolerance, f"{stage}: largest difference {difference}"


WITH_LOGITS = [
    next((golden, case, row) for case in golden.cases.values() for row in case.rows if "logits" in row.expect)
    for golden in FOUND
    if any("logits" in row.expect for case in golden.cases.values() for row in case.rows)
]


@pytest.mark.parametrize(
    ("golden", "case", "row"), WITH_LOGITS, ids=[golden.folder.name for golden, _, _ in WITH_LOGITS]
)
def test_golden_logits_are_not_met_by_slightly_other_weights(golden: Golden, case: Case, row: Row) -> None:
    """In no arithmetic is a tensor taken for the right one that moves the logits by more than twice what is allowed.

    A thousandth more of the largest one is enough for most goldens.
    """
    model = golden.model(case)
    other = replace(model, vlm=copy.deepcopy(model.vlm))
    with torch.no_grad():
        own = compute("logits", model, case, row)
        weight = max(other.vlm.decoder.layers.parameters(), key=torch.numel)
        right = weight.clone()
        for doubled in range(10):
            weight.copy_(right * (1 + 2**doubled / 1000))
            if apart(compute("logits", other, case, row), own.numpy()) > 2 * golden.tolerance:
                break
        else:
            pytest.fail("the largest weight of the decoder moves no logits")
        for arithmetic in arithmetics():
            with arithmetic:
                found = compute("logits", other, case, row)
            assert apart(found, row.expect["logits"]) > golden.tolerance


@pytest.mark.parametrize("engine", ["reference", "loop"])
@pytest.mark.parametrize(("golden", "name", "run"), params(FOUND, lambda case: case.runs))
def test_golden_generations_are_equal(golden: Golden, name: str, run: str, engine: str) -> None:
    prefix = f"{run}." if run else ""
    case = golden.cases[name]
    for row, answer in zip(case.rows, generated(golden, name, run, engine), strict=True):
        assert answer.error is None
        assert list(answer.token_ids) == row.expect[f"{prefix}generated_ids"]
        if f"{prefix}text" in row.expect:
            assert answer.text == row.expect[f"{prefix}text"]
        if f"{prefix}sequences_score" in row.expect:
            tolerance = golden.tolerance * magnified(golden, case, row, dict(case.runs[run]), answer)
            assert answer.logprob == pytest.approx(row.expect[f"{prefix}sequences_score"], abs=tolerance)


@pytest.mark.parametrize(
    ("golden", "name", "run"), params(FOUND, lambda case: ["pad"] if case.padded_input_ids else [])
)
def test_golden_batches_are_padded_on_the_left(golden: Golden, name: str, run: str) -> None:
    case = golden.cases[name]
    jobs = [job(golden.model(case), request(case, row, {"max_new_tokens": 1})) for row in case.rows]
    ids, real = left_padded([ready.rendered.ids for ready in jobs])
    expected = torch.tensor(case.padded_input_ids)
    assert torch.equal(ids[real], expected[real])  # the id of padding is the authors' affair: nothing looks at it
    assert real.int().tolist() == case.attention_mask
