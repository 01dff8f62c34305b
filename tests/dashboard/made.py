"""Results folders for the pages: whole ones, and each kind of damaged, hostile or odd one."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image as pil

from flamingo_lab.prompt import Image
from leaderboards.records import Run, SampleRecord, Score
from leaderboards.store import Store

METRIC = "exact_match/strip-lower"
MARKUP = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script><b>**bold**</b> :red[x] $x^2$ [a](javascript:1)'
SECRET = "a secret file's content"


def png(colour: tuple[int, int, int], size: tuple[int, int] = (64, 48)) -> bytes:
    """A plain picture."""
    stream = io.BytesIO()
    pil.new("RGB", size, colour).save(stream, "PNG")
    return stream.getvalue()


def pictures(folder: Path, count: int = 4) -> list[tuple[str, str]]:
    """Pictures in a folder; digest and name of each."""
    folder.mkdir(parents=True, exist_ok=True)
    found: list[tuple[str, str]] = []
    for number in range(count):
        file = png((40 * number, 90, 200 - 30 * number))
        (folder / f"{number}.png").write_bytes(file)
        found.append((Image(file).digest, f"{number}.png"))
    return found


def sample(run_id: str, number: int, **changes: Any) -> SampleRecord:
    """The question of this number; every third is answered wrongly."""
    is_right = number % 3 > 0
    digest = hashlib.sha256(f"{number}".encode()).hexdigest()
    record = SampleRecord(
        run_id=run_id,
        sample_id=f"q{number:05}",
        document=f"d{number // 2}",
        image_digests=[digest],
        image_paths=["0.png"],
        question=f"what colour is thing {number}?",
        targets=["red"],
        choices=[],
        prompt=f"<s><image:{digest[:12]}>Question: what colour is thing {number}? Answer:",
        shot_ids=[],
        answer_raw=" red" if is_right else " green",
        answer="red" if is_right else "green",
        logprob=-0.1,
        option_logprobs=None,
        scores={METRIC: float(is_right)},
        slices={"kind": "even" if number % 2 == 0 else "odd"},
        error_kind=None,
        error=None,
        prompt_tokens=12,
        generated_tokens=2,
        n_images=1,
        seconds=0.01,
        trace=None,
    )
    return replace(record, **changes)


def run(run_id: str, samples: Sequence[SampleRecord], **changes: Any) -> Run:
    """The record of a run with these samples."""
    known = [one for one in samples if METRIC in one.scores]
    value = sum(one.scores[METRIC] for one in known) / max(1, len(known))

    def score(slice: str, n: int) -> Score:
        ends = max(0, value - 0.1), min(1, value + 0.1)
        return Score("exact_match", "strip-lower", slice, value, *ends, 0.05, n=n, interval="Wilson, by cluster")

    kinds = sorted({one.slices["kind"] for one in known if "kind" in one.slices})
    record = Run(
        run_id=run_id,
        status="complete",
        created="2024-01-02T03:04:05+00:00",
        command=f"flab eval --model model-a --tasks things --seed {run_id[:1]}",
        model="model-a",
        model_digest="a" * 64,
        family="made",
        parameters=7_000_000,
        backend="tests",
        dtype="float32",
        task="things",
        task_digest="t" * 64,
        split="test",
        num_fewshot=0,
        shot_selection="random",
        phrasing="plain",
        decoding="greedy",
        seed=0,
        limit=None,
        n=len(samples),
        n_errors=sum(one.error_kind is not None for one in samples),
        settings={"num_fewshot": 0, "options": []},
        scores=[score("all", len(known)), *(score(f"kind={kind}", len(known) // 2) for kind in kinds)],
        finished="2024-01-02T03:05:05+00:00",
        seconds=60.0,
        questions_per_second=len(samples) / 60,
        prompt_tokens=12 * len(samples),
        generated_tokens=2 * len(samples),
        peak_memory=2**28,
        stages={"plan": 1.0, "answer": 58.0, "score": 1.0},
        hardware={"cores": 2},
        versions={"python": "3.11"},
    )
    return replace(record, **changes)


def write(results: Path, record: Run, samples: Sequence[SampleRecord]) -> None:
    """Put a run into a results folder."""
    with Store(results).begin(record.run_id) as folder:
        folder.finish(record, samples)


def two_models(results: Path, count: int = 60) -> tuple[str, str]:
    """Two models that answered the same questions; the second is better. The ids of their runs."""
    ids = "a" * 16, "b" * 16
    first = [sample(ids[0], number) for number in range(count)]
    better = [
        sample(ids[1], number, scores={METRIC: float(number % 5 > 0)}, answer="red" if number % 5 else "blue")
        for number in range(count)
    ]
    write(results, run(ids[0], first), first)
    write(results, run(ids[1], better, model="model-b", model_digest="b" * 64, num_fewshot=4), better)
    return ids


def two_splits(results: Path) -> None:
    """Two models on two splits of one task: runs a0, a1 of the first, b0, b1 of the second, other questions in each split."""
    for number, split in enumerate(("testA", "val")):
        for model, step in (("a", 3), ("b", 4)):
            run_id = f"{model}{number}" * 8
            samples = [
                sample(run_id, one, sample_id=f"{split}{one}", scores={METRIC: float(one % step > 0)})
                for one in range(24)
            ]
            changes = {"model": f"model-{model}", "model_digest": model * 64, "split": split}
            write(results, run(run_id, samples, **changes), samples)


def with_pictures(results: Path, images: Path) -> str:
    """A run of one shot whose pictures lie in `images`."""
    found = pictures(images)
    run_id = "c" * 16
    samples = [
        sample(
            run_id,
            number,
            image_digests=[found[0][0], found[1 + number][0]],
            image_paths=[found[0][1], found[1 + number][1]],
            prompt=f"<s><fake_token><image:{found[0][0][:12]}><fake_token>Question: shown? Answer: yes\n"
            f"<fake_token><image:{found[1 + number][0][:12]}><fake_token>Question: asked? Answer:",
            shot_ids=["train-7"],
            n_images=2,
        )
        for number in range(3)
    ]
    write(results, run(run_id, samples, num_fewshot=1), samples)
    return run_id


def failed(results: Path) -> str:
    """A run of which half the questions have no answer."""
    run_id = "d" * 16
    lost = {
        "answer": None,
        "answer_raw": None,
        "scores": {},
        "error_kind": "BadImage",
        "error": "12.png: no such picture",
    }
    samples = [sample(run_id, number, **(lost if number % 2 else {})) for number in range(20)]
    unread = replace(samples[0], problems={METRIC: "no letter"}, scores={METRIC: 0.0}, answer="I do not know")
    write(results, run(run_id, samples, status="too many errors"), [unread, *samples[1:]])
    return run_id


def hostile(results: Path, images: Path) -> str:
    """A run whose every text is markup, and whose pictures' names lead elsewhere."""
    run_id = "e" * 16
    (images.parent / "secret.png").write_bytes(png((1, 2, 3)))
    digest = Image((images.parent / "secret.png").read_bytes()).digest
    images.mkdir(exist_ok=True)
    samples = [
        sample(
            run_id,
            number,
            sample_id=f"{MARKUP}{number}",
            question=MARKUP,
            answer=MARKUP,
            answer_raw=MARKUP,
            targets=[MARKUP],
            prompt=MARKUP,
            image_digests=[digest],
            image_paths=[["../secret.png", str(images.parent / "secret.png")][number]],
            slices={"kind": MARKUP},
            shot_ids=[MARKUP],
            error_kind=None if number else MARKUP,
            error=MARKUP,
        )
        for number in range(2)
    ]
    changes = {"model": MARKUP, "command": MARKUP, "settings": {MARKUP: MARKUP}, "phrasing": MARKUP}
    write(results, run(run_id, samples, **changes), samples)
    return run_id


FORMULA = "=cmd|'/c calc'!A1"


def formula(results: Path) -> None:
    """A run of a model whose name a spreadsheet would take for a formula."""
    samples = [sample("8" * 16, number) for number in range(4)]
    write(results, run("8" * 16, samples, model=FORMULA, model_digest="8" * 64), samples)


def long_answer(results: Path, length: int) -> str:
    """A run with an answer of so many characters."""
    run_id = "f" * 16
    text = "ab " * (length // 3)
    samples = [sample(run_id, 0, answer=text, answer_raw=text)]
    write(results, run(run_id, samples), samples)
    return run_id


TRACE = {
    "searches": [
        {
            "target": "blue cup",
            "is_found": True,
            "boxes": [[10, 10, 20, 12]],
            "path": [
                {"patch": [0, 0, 64, 48], "level": 1, "parent": None, "priority": None, "confidence": 0.1, "cue": None},
                {
                    "patch": [0, 0, 32, 24],
                    "level": 2,
                    "parent": 0,
                    "priority": 5.5,
                    "confidence": 0.8,
                    "cue": {"answer": "on the table", "phrase": "the table"},
                },
            ],
        }
    ]
}


def with_search(results: Path, images: Path) -> str:
    """A run with a guided search, and one with boxes."""
    ((digest, name),) = pictures(images, 1)
    run_id = "9" * 16
    pictured = {"image_digests": [digest], "image_paths": [name], "prompt": f"<image:{digest[:12]}>where?"}
    boxed = {"scores": {"iou/xyxy": 1.0}, "answer": "it is at [8, 6, 32, 24]", "targets": ["[10, 6, 30, 24]"]}
    samples = [
        sample(run_id, 0, trace=json.dumps(TRACE), **pictured),
        sample(run_id, 1, **pictured, **boxed),
    ]
    write(results, run(run_id, samples), samples)
    return run_id
