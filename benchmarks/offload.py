"""Weights that stay in their files: how fast they are read, how near the time is to its floors, and what memory it takes.

    python benchmarks/offload.py [--megabytes 400] [--repeats 3]

A random IDEFICS checkpoint of 1 GB, asked with its weights in memory and with `--offload` within so much above what the
imports take; with files that the system may cache, and past its cache as files larger than memory are read. The disk's rate
is measured in the same run, in turn with the models. Then passes by the share of slots that is free before waiting
questions enter. Writes `reports/offload.md`; ends with 1 where memory or answers are not as they have to be.
"""

from __future__ import annotations

import mmap
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import loading_memory
import machine
import numpy as np
import rank_memory
from apart import apart
from PIL import Image

import flamingo_lab as fl
from flamingo_lab.engine import loop
from flamingo_lab.engine.budget import GIB
from flamingo_lab.files import pieces
from flamingo_lab.offload import streamed
from flamingo_lab.offload.items import CHUNK_BYTES

REPORT = Path(__file__).parent / "reports" / "offload.md"

QUESTIONS, NEW_TOKENS = 24, 3
CLOSE = 1e-4

WAYS = ("in memory", "cached", "past the cache")

REFILLS = (0.05, 0.125, 0.25, 0.5, 0.75, 1.0)
LENGTHS, ROWS, TIMES = (2, 4, 16), 32, 10
"""Of answers in tokens, of slots, and questions for each slot."""


@dataclass(frozen=True)
class Asked:
    """A run in a process of its own. `answers`: tokens and log-probability by question; bytes: of weights, read."""

    way: str
    answers: dict[str, tuple[tuple[int, ...], float]]
    seconds: float
    bound: int
    peak: int
    bytes: float = 0.0
    unused_bytes: float = 0.0
    reading_seconds: float = 0.0
    waited_seconds: float = 0.0


def questions() -> list[fl.Request]:
    """About three pictures each."""
    noise = np.random.default_rng(0)
    pictures = [
        fl.Image(Image.fromarray(noise.integers(0, 256, (60, 80, 3), dtype=np.uint8))) for _ in range(QUESTIONS // 4)
    ]
    return [
        fl.Request(
            str(number),
            fl.Prompt.raw(pictures[number % len(pictures)], f"what is in picture {number}?"),
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
        )
        for number in range(QUESTIONS)
    ]


def ask(folder: Path, way: str, more: int) -> Asked:
    """Load and answer, within `more` bytes above what there is before where weights stay in their files."""
    if way == "past the cache":
        streamed.free_bytes = lambda device: 0  # as where the files are larger than the memory
    bound = rank_memory.peak_bytes() + more
    is_offloaded = way != "in memory"
    model = fl.load(
        folder, dtype="float32", device="cpu", offload=is_offloaded, memory=bound / GIB if is_offloaded else None
    )
    assert isinstance(model, fl.LoadedModel)
    began = time.perf_counter()
    answers = {one.id: one for one in model.answers(questions())}
    seconds = time.perf_counter() - began
    failed = [one.error for one in answers.values() if one.error]
    assert not failed, failed
    return Asked(
        way,
        {id: (one.token_ids, one.logprob or 0.0) for id, one in answers.items()},
        seconds,
        bound,
        rank_memory.peak_bytes(),
        **({} if model.streamed is None else vars(model.streamed.counts)),
    )


def disk_rate(folder: Path) -> float:
    """Bytes a second, all shards one after the other past the system's cache."""
    files = sorted(folder.glob("*.safetensors"))
    began = time.perf_counter()
    buffer = mmap.mmap(-1, CHUNK_BYTES)
    for file in files:
        for _ in pieces(file, buffer=buffer, is_cached=False):
            pass
    return sum(file.stat().st_size for file in files) / (time.perf_counter() - began)


def are_equal(one: Asked, other: Asked) -> bool:
    """Whether both gave the same tokens, and log-probabilities as far as sums in another order go."""
    return one.answers.keys() == other.answers.keys() and all(
        tokens == other.answers[id][0] and abs(logprob - other.answers[id][1]) <= CLOSE
        for id, (tokens, logprob) in one.answers.items()
    )


def measured(more: int, repeats: int) -> tuple[list[str], list[str]]:
    """The report's lines, and what is missed."""
    turns: list[tuple[float, dict[str, Asked]]] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        loading_memory.write(folder, "safetensors")
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        for _ in range(repeats):
            turns.append((disk_rate(folder), {way: apart(ask, folder, way, more) for way in WAYS}))
            print(turns[-1][0], {way: (one.seconds, one.peak) for way, one in turns[-1][1].items()}, flush=True)
    lines = [
        "## A checkpoint of 1 GB",
        "",
        f"{size / 1e6:,.0f} MB in bfloat16, computed in float32; {QUESTIONS} questions with a picture, {NEW_TOKENS} new tokens. "
        f"With `--offload` the bound is {more / 1e6:.0f} MB above what the imports take. *Read floor*: what was read at the "
        "disk's rate of the same turn (16 MiB at a time, past the cache). *Arithmetic floor*: the same questions with the "
        f"weights in memory. Medians of {repeats} turns.",
        "",
        "| weights | answer s | read MB | read GB/s | of the disk's rate | waited s | time / larger floor | peak MB | bound MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    missed: list[str] = []
    for way in WAYS:
        runs = [(disk, asked[way], asked["in memory"]) for disk, asked in turns]
        missed += [f"{way}: other answers" for _, one, resident in runs if not are_equal(one, resident)]
        seconds = statistics.median(one.seconds for _, one, _ in runs)
        peak = max(one.peak for _, one, _ in runs)
        if way == "in memory":
            lines.append(f"| {way} | {seconds:.1f} | – | – | – | – | 1.00 | {peak / 1e6:,.0f} | – |")
            continue
        missed += [f"{way}: {one.peak} bytes, {one.bound} allowed" for _, one, _ in runs if one.peak > one.bound]
        rate = statistics.median(one.bytes / one.reading_seconds for _, one, _ in runs)
        share = statistics.median(one.bytes / one.reading_seconds / disk for disk, one, _ in runs)
        floors = statistics.median(
            one.seconds / max(one.bytes / disk, resident.seconds) for disk, one, resident in runs
        )
        read, waited = (
            statistics.median(getattr(one, name) for _, one, _ in runs) for name in ("bytes", "waited_seconds")
        )
        lines.append(
            f"| {way} | {seconds:.1f} | {read / 1e6:,.0f} | {rate / 1e9:.2f} | {100 * share:.0f} % | {waited:.1f} | "
            f"{floors:.2f} | {peak / 1e6:,.0f} | {min(one.bound for _, one, _ in runs) / 1e6:,.0f} |"
        )
    rates = ", ".join(f"{disk / 1e9:.2f}" for disk, _ in turns)
    lines += ["", f"The disk: {rates} GB/s. Answers are those of the resident model, token by token.", ""]
    return lines, missed


def passes(model: fl.LoadedModel, refill: float, mean: int) -> int:
    """How often the layers compute for answers whose lengths are drawn around a mean, where `ROWS` have a slot."""
    drawn = random.Random(0)
    asked: list[fl.Request] = []
    for number in range(TIMES * ROWS):
        length = 1 + int(drawn.expovariate(1 / (mean - 1)))
        prompt = fl.Prompt.raw(f"{number:04}")
        asked.append(fl.Request(str(number), prompt, max_new_tokens=length, min_new_tokens=length))
    engine = loop.Engine(model, model.room)
    engine._budget = replace(engine._budget, rows=ROWS, refill=refill)
    count = 0

    def counted(*_: object) -> None:
        nonlocal count
        count += 1

    hook = model.vlm.decoder.layers[0].register_forward_pre_hook(counted)
    failed = [answer.error for answer in engine.answers(asked) if answer.error]
    engine.close()
    hook.remove()
    assert not failed, failed
    return count


def refill_part() -> list[str]:
    """The report's lines."""
    model = fl.load("flamingo-tiny", dtype="float32", device="cpu")
    assert isinstance(model, fl.LoadedModel)
    rows = [f"| {mean} | {' | '.join(f'{passes(model, refill, mean):,}' for refill in REFILLS)} |" for mean in LENGTHS]
    return [
        "## Passes by how many slots are free before others enter",
        "",
        f"{TIMES * ROWS:,} questions, {ROWS} slots, answers of drawn lengths (exponential). Each pass reads all weights once, "
        "be it of prompts or of one token each. Resident models take 0.25, offloaded ones 0.5 "
        "([decision 26](../../docs/decisions/0026-few-large-passes.md)).",
        "",
        "| mean length | " + " | ".join(f"{refill:g}" for refill in REFILLS) + " |",
        "| ---: | " + " | ".join("---:" for _ in REFILLS) + " |",
        *rows,
        "",
    ]


def main() -> int:
    """Measure and write the report."""
    parser = machine.options(__doc__)
    parser.add_argument("--megabytes", type=int, default=400, help="above what the imports take")
    parser.add_argument("--repeats", type=int, default=3)
    told = parser.parse_args()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    measured_lines, missed = measured(told.megabytes * 10**6, told.repeats)
    lines = [
        "# Weights that stay in their files",
        "",
        f"`{machine.command()}` on {machine.facts()}; load before {load} on {os.cpu_count()} cores.",
        "",
        *measured_lines,
        *refill_part(),
    ]
    REPORT.write_text("\n".join(lines))
    print("\n".join(lines))
    print("\n".join(missed), file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
