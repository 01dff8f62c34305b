"""Benchmarks whose options are ranked, run on real tiny models: what is stored is what the reference finds likely."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import flamingo_lab as fl
from eval_tasks import plan, task
from eval_tasks.plan import Settings
from flamingo_lab import cli
from flamingo_lab.engine import reference
from leaderboards.records import Run
from leaderboards.store import Store
from tests.families.tiny_idefics import write_checkpoint

QUESTIONS = 6
COLOURS = ("red", "blue", "green", "white")

Record = Mapping[str, Any]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny-idefics"
    write_checkpoint(folder, {"max_position_embeddings": 1024}, seed=11)
    return folder


def picture(file: Path, number: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (18 + number, 12), (40 * number, 200 - 30 * number, 90)).save(file)


def vstar_bench(root: Path) -> None:
    for number in range(QUESTIONS):
        file = root / ("direct_attributes" if number % 2 else "relative_position") / f"sa_{number}.jpg"
        picture(file, number)
        options = [f"The car is {COLOURS[(number + step) % 4]}." for step in range(4 if number % 2 else 2)]
        row = {"question": f"What is the colour of car {number}?", "options": options}
        file.with_suffix(".json").write_text(json.dumps(row))


def seed_bench(root: Path) -> None:
    rows: list[dict[str, Any]] = []
    for number in range(QUESTIONS):
        picture(root / "SEED-Bench-image" / f"{number}.png", number)
        choices = {f"choice_{letter}": COLOURS[(number + place) % 4] for place, letter in enumerate("abcd")}
        rows.append(
            {
                "question_id": str(number),
                "question_type_id": 1 + number % 2,
                "data_type": "image",
                "data_id": f"{number}.png",
                "question": f"Which colour has car {number}?",
                "answer": "ABCD"[number % 4],
                **choices,
            }
        )
    kinds = {"Scene Understanding": 1, "Instance Identity": 2}
    (root / "SEED-Bench.json").write_text(json.dumps({"question_type": kinds, "questions": rows}))


def hateful_memes(root: Path) -> None:
    lines: list[str] = []
    for number in range(QUESTIONS):
        picture(root / "img" / f"{number}.png", number)
        row = {"id": number, "img": f"img/{number}.png", "text": f"look at {COLOURS[number % 4]}", "label": number % 2}
        lines.append(json.dumps(row))
    (root / "test_seen.jsonl").write_text("\n".join(lines) + "\n")


DATA: dict[str, Callable[[Path], None]] = {
    "vstar-bench": vstar_bench,
    "seed-bench": seed_bench,
    "hateful-memes": hateful_memes,
}

RANKED = [
    (name, wording.name, template)
    for name in DATA
    for wording in task.get(name).wordings
    if wording.rank
    for template in ("base", "instruct")
]


def evaluated(checkpoint: Path, folder: Path, name: str, wording: str, template: str) -> tuple[Run, list[Record]]:
    """A run of `flab eval`, and its samples."""
    DATA[name](folder / "data")
    where = (
        "--data",
        str(folder / "data"),
        "--results",
        str(folder / "results"),
        "--device",
        "cpu",
        "--dtype",
        "float32",
    )
    how = ("--wording", wording, "--template", template)
    assert cli.run(["eval", "--model", str(checkpoint), "--tasks", name, *where, *how]) == 0
    (run,) = Store(folder / "results").runs()
    found = Store(folder / "results").samples(run.run_id)
    return run, [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]


@pytest.mark.parametrize(("name", "wording", "template"), RANKED)
def test_what_is_stored_is_what_the_reference_finds_likely(
    name: str, wording: str, template: str, checkpoint: Path, tmp_path: Path
) -> None:
    run, records = evaluated(checkpoint, tmp_path, name, wording, template)
    assert (run.status, run.n, run.n_errors, run.phrasing) == ("complete", QUESTIONS, 0, wording)
    chosen = task.get(name)
    normalise = chosen.wording(wording).rank
    assert run.decoding == f"rank({normalise})"
    model = fl.load(checkpoint, wording=template, device="cpu", dtype="float32")
    asked = plan.plan(model, chosen, Settings(data=tmp_path / "data", wording=wording)).asked
    for one, record in zip(asked, records, strict=True):
        expected = reference.answer(model, one.request)
        assert expected.option_logprobs is not None and record["sample_id"] == one.sample.id
        assert record["option_logprobs"] == pytest.approx(expected.option_logprobs, abs=1e-4)
        assert record["answer"] == expected.text and record["n_images"] == 1
        assert len(record["option_logprobs"]) == len(one.sample.choices)
    values = {(score.metric, score.variant): score.value for score in run.scores if score.slice == "all"}
    figure = auc if name == "hateful-memes" else share
    metric, variant = str(chosen.metrics_of(chosen.wording(wording), frozenset())[0]).split("/")
    assert values[metric, variant] == pytest.approx(figure(records))
    assert len({tuple(record["option_logprobs"]) for record in records}) == QUESTIONS


def share(records: Sequence[Record]) -> float:
    """How often the likeliest option is the right one."""
    best = ("ABCD"[max(range(len(held)), key=held.__getitem__)] for held in (one["option_logprobs"] for one in records))
    return sum(letter == one["targets"][0] for letter, one in zip(best, records, strict=True)) / len(records)


def auc(records: Sequence[Record]) -> float:
    """How often a hateful picture has the higher probability of `yes`, pair by pair."""
    odds = [one["option_logprobs"][1] - one["option_logprobs"][0] for one in records]
    probability = [1 / (1 + math.exp(-value)) for value in odds]
    pairs = [
        (high, low)
        for high, one in zip(probability, records, strict=True)
        if one["targets"] == ["1"]
        for low, other in zip(probability, records, strict=True)
        if other["targets"] == ["0"]
    ]
    return sum((high > low) + 0.5 * (high == low) for high, low in pairs) / len(pairs)


def test_a_mean_is_a_sum_over_the_options_tokens(checkpoint: Path, tmp_path: Path) -> None:
    """Length normalisation, as the papers have it, changes which of a long and a short option is likelier."""
    model = fl.load(checkpoint, wording="base", device="cpu", dtype="float32")
    image = Image.new("RGB", (12, 12), "red")
    options = ("red", "a red car on the sofa near the river")
    prompt = fl.Prompt.ask(fl.Image(image), "what is it?")
    found = {
        normalise: next(iter(model.answers([fl.Request("q", prompt, fl.Rank(options, normalise))])))
        for normalise in ("sum", "mean")
    }
    lengths = [
        len(next(iter(model.answers([fl.Request("q", prompt, fl.Rank((option,), "sum"))]))).token_ids)
        for option in options
    ]
    sums, means = found["sum"].option_logprobs, found["mean"].option_logprobs
    assert sums is not None and means is not None and lengths[1] > lengths[0]
    assert means == pytest.approx([total / length for total, length in zip(sums, lengths, strict=True)], rel=1e-4)
    assert found["sum"].text == options[0]
