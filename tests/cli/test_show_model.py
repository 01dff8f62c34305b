"""What `flab show model` tells of every listed model."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
import typer

from flamingo_lab import families
from flamingo_lab.cli import app, run
from flamingo_lab.cli.beforehand import decoding
from leaderboards import published

NAMES = [size.name for _, size in families.sizes()]


def shown(name: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run(["show", "model", name, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def said(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["show", "model", name]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_every_listed_model_is_shown_in_full(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    facts = shown(name, capsys)
    assert facts["decoder"]["layers"] and facts["decoder"]["positions"]
    assert ("tower" in facts) != ("patches" in facts)
    assert "What animal is this?" in facts["prompt"]
    assert facts["licence"] and facts["paper"] and facts["from"] and facts["parameters"]
    assert facts["tokens per image"]
    text = said(name, capsys)
    assert "None" not in text and "': " not in text
    rows = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "tokens per image" in rows
    has_gates = name.startswith(("idefics", "openflamingo", "flamingo"))
    assert ("gated cross-attention" if has_gates else "in the sequence") in rows["join"]


def test_the_tower_and_the_base_are_those_of_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown("llava-13b-delta-v1-1", capsys)["further folders"]["vision"] == (
        "openai/clip-vit-large-patch14, or --vision DIR"
    )
    lora = shown("llava-v1.5-13b-lora", capsys)["further folders"]
    assert lora["vision"] == "openai/clip-vit-large-patch14-336, or --vision DIR"
    assert lora["base"] == "lmsys/vicuna-13b-v1.5, or --base DIR"
    assert "for a folder of differences" in shown("llava-v1.5-7b", capsys)["further folders"]["base"]
    assert shown("yi-vl-6b", capsys)["further folders"]["vision"].endswith("in the folder")
    assert shown("idefics-9b", capsys)["further folders"] == {}


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("llava-v1.5-7b", 576),
        ("llava-v1.6-34b", "1,176 at 336 x 336, 2,340 at 640 x 480, 1,948 at 1920 x 1080"),
        ("fuyu-8b", "144 at 336 x 336, 352 at 640 x 480, 2,304 at 1920 x 1080"),
        ("seal_vqa_7b", "256 or 32"),
        ("moe-llava-phi2-2.7b-4e-384", 728),
        ("qwen-vl", 256),
        ("idefics-80b", 64),
    ],
)
def test_tokens_of_a_picture(name: str, tokens: str | int, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(name, capsys)["tokens per image"] == tokens


def test_people_are_told_what_is_not_as_usual(capsys: pytest.CaptureFixture[str]) -> None:
    text = said("llava-v1.6-mistral-7b", capsys)
    assert "place: rotary (base 1000000.0)" in text.replace("  ", " ")
    assert "qkv_limit" not in text
    assert "grids: 336 x 672, 672 x 336" in text
    assert "qkv_limit" in shown("llava-v1.6-mistral-7b", capsys)["decoder"]
    kinds = {"idefics-9b": "resampler", "llava-v1.5-7b": "projector", "seal_vqa_7b": "two lengths"}
    for name, kind in kinds.items():
        assert f"kind: {kind}" in said(name, capsys)


def test_scores_stand_by_benchmark_and_protocol_over_the_shots(capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown("openflamingo-9b-vitl-mpt7b", capsys)["published"]
    coco = [line for line in lines if line.startswith("COCO")]
    assert coco[0].startswith("COCO Karpathy test CIDEr: 79.5 at 0 shots, 89 at 4 shots, 96.3 at 8 shots")
    assert "RICES" in coco[1] and "RICES" not in coco[0]
    numbers = sum(line.partition(": ")[2].partition(" (")[0].count(",") + 1 for line in lines)
    assert numbers == len(published.of("openflamingo-9b-vitl-mpt7b"))
    assert "(protocol not published; " in shown("fuyu-8b", capsys)["published"][0]


def test_a_fine_tuned_models_score_is_shown_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = shown("llava-13b-delta-v0-science_qa", capsys)["published"]
    assert line.startswith("ScienceQA test accuracy: 90.92")  # not the ensemble with GPT-4


def test_a_model_made_of_others_names_both_licences(capsys: pytest.CaptureFixture[str]) -> None:
    facts = shown("seal", capsys)
    assert facts["licence"].count("MIT") == 2
    text = said("seal", capsys)
    for half, tokens in (("seal_vqa_7b", "256 or 32"), ("seal_vsm_7b", "256")):
        assert f"flab show model {half}" in text and f"{half}: {tokens}" in text
    assert facts["made of"] == {"vqa": "seal_vqa_7b", "vsm": "seal_vsm_7b"}


@pytest.mark.parametrize("name", NAMES)
def test_recommended_settings_can_be_typed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All that is listed but what this package ships has authors who published some."""
    family, size = next(held for held in families.sizes() if held[1].name == name)
    assert bool(size.recommended) != bool(size.bundled)
    assert shown(name, capsys)["recommended"] == size.recommended
    verb = typer.main.get_command(app).commands["eval"]  # pyright: ignore[reportAttributeAccessIssue]
    for options in size.recommended.values():
        asked = ["--model", name, "--tasks", "easy-vqa", *shlex.split(options)]
        given = verb.make_context("eval", asked).params
        found = decoding(*(given[key] for key in ("beams", "length_penalty", "temperature", "top_p")), seed=0)
        assert (found is None) == ("--beams 1" in options)
        assert (given["template"] or size.wording) in family.wordings
        assert options in said(name, capsys)
