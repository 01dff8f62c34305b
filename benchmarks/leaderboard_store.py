"""How fast a large store answers: opening, the table, the leaderboard with all its tests, a comparison; and how much memory.

    python benchmarks/leaderboard_store.py [FOLDER]

The store of 200 runs with 10,000 samples each (20 models on 10 tasks) is built in FOLDER, or in a temporary one, and left
there if FOLDER was given; the next call then uses it. Each figure is measured in processes of its own, five times.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import machine
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from leaderboards.records import Run, Score, sample_schema
from leaderboards.statistics import interval
from leaderboards.store import Store

REPORT = Path(__file__).parent / "reports" / "leaderboard_store.md"
MODELS, TASKS, SAMPLES = 20, 10, 10_000
PER_DOCUMENT = 5
KINDS = ("chart", "table", "figure", "map", "form")
REPEATS = 5
MEGABYTE = 1e6

ALLOWED = {"opening": 0.3, "table": 0.3, "compare": 1.0}
"""Seconds of the processor, the median of the repeats."""
ALLOWED_MB = 1000

METRICS = ("exact_match/strip-lower", "vqa_accuracy/evalai", "anls/rrc")
"""Scores of 0 and 1, of tenths, and of any value; the tasks take turns."""

STEPS = {
    "opening": "store.runs()",
    "table": "sys.stdout.write(table.text(table.rows(store.runs()), 'md'))",
    "leaderboard": "sys.stdout.write(forms.markdown(boards.matrix_sheet(ranking.matrix(store))))",
    "compare": "compare.compare(store, a, b)",
    "differing": "compare.differing(store, a, b, metric, limit=50)",
    "samples": "store.samples(a).filter(\"question like '%7 %'\").limit(200).fetchall()",
}
"""What is timed, in a process that has imported what it needs and opened the store, which `opening` alone does within."""

ASKED = """
import sys, time
import duckdb, numpy, pyarrow.compute, scipy.special
from flamingo_lab.host import peak_bytes
from leaderboards import boards, compare, forms, ranking, store as stores, table
path, a, b, metric, step = sys.argv[1:]
store = stores.open(path)
if step != {opening!r}:
    store.runs()
def timed():
    began, used = time.perf_counter(), time.process_time()
    exec(step)
    return time.perf_counter() - began, time.process_time() - used
print(*timed(), *timed(), peak_bytes(), file=sys.stderr)
"""


def run_of(model: int, task: int) -> tuple[Run, pa.Table]:
    """A made-up run. Questions differ in how hard they are, which all models feel; models lie close to each other."""
    random = np.random.default_rng([model, task])
    hard = np.repeat(np.random.default_rng(task).normal(0, 0.25, SAMPLES // PER_DOCUMENT), PER_DOCUMENT)
    chance = 0.4 + 0.02 * model - hard
    right = random.random(SAMPLES) < chance
    metric = METRICS[task % len(METRICS)]
    shares = (np.ones(1), np.array([0.3, 0.6, 0.9, 1.0]), random.random(SAMPLES).round(3))[task % len(METRICS)]
    scores = np.where(right, random.choice(shares, SAMPLES), 0.0)
    documents = [f"document {number // PER_DOCUMENT}" for number in range(SAMPLES)]
    run_id = f"{model:02x}{task:02x}".ljust(16, "0")
    kinds = [KINDS[number // PER_DOCUMENT % len(KINDS)] for number in range(SAMPLES)]
    parts = [("all", np.arange(SAMPLES))]
    parts += [(f"kind={kind}", np.flatnonzero(np.array(kinds) == kind)) for kind in KINDS]
    found: list[Score] = []
    for label, inside in parts:
        mean = interval(scores[inside].tolist(), [documents[number] for number in inside])
        assert mean is not None
        found.append(Score(*metric.split("/"), label, *mean[:4], n=len(inside), interval=mean.kind))
    questions = [f"What does part {number} of the picture in task {task} say?" for number in range(SAMPLES)]
    answers = [f"answer {number} of model {model}, said in some words" for number in range(SAMPLES)]
    columns = {
        "run_id": [run_id] * SAMPLES,
        "sample_id": [f"task{task}-{number:06}" for number in range(SAMPLES)],
        "document": documents,
        "image_digests": [[f"{task:032x}{number // PER_DOCUMENT:032x}"] for number in range(SAMPLES)],
        "image_paths": [[f"pictures/{number // PER_DOCUMENT}.png"] for number in range(SAMPLES)],
        "question": questions,
        "targets": [[f"target {number}"] for number in range(SAMPLES)],
        "choices": [[]] * SAMPLES,
        "prompt": [f"<image:{number // PER_DOCUMENT:012}> {asked} " * 4 for number, asked in enumerate(questions)],
        "shot_ids": [[]] * SAMPLES,
        "answer_raw": answers,
        "answer": answers,
        "logprob": (-random.random(SAMPLES)).tolist(),
        "option_logprobs": [None] * SAMPLES,
        "scores": [[(metric, score)] for score in scores.tolist()],
        "slices": [[("kind", kind)] for kind in kinds],
        "error_kind": [None] * SAMPLES,
        "error": [None] * SAMPLES,
        "prompt_tokens": [120] * SAMPLES,
        "generated_tokens": [8] * SAMPLES,
        "n_images": [1] * SAMPLES,
        "seconds": [0.01] * SAMPLES,
        "trace": [None] * SAMPLES,
        "problems": [[]] * SAMPLES,
        "terms": [[]] * SAMPLES,
    }
    run = Run(
        run_id=run_id,
        status="complete",
        created=f"2024-01-{task + 1:02}T{model:02}:00:00+00:00",
        command="flab eval",
        model=f"model-{model:02}",
        model_digest=f"{model:064x}",
        family="made up",
        parameters=7_000_000_000 + model,
        backend="made up",
        dtype="bfloat16",
        task=f"task-{task:02}",
        task_digest=f"{task:064x}",
        split="test",
        num_fewshot=4,
        shot_selection="random",
        phrasing="plain",
        decoding="greedy",
        seed=0,
        limit=None,
        n=SAMPLES,
        settings={},
        scores=tuple(found),
    )
    return run, pa.table(columns, schema=sample_schema())


def build(path: Path) -> float:
    """Write what is not there yet; how many seconds that took."""
    store, began = Store(path), time.perf_counter()
    for model in range(MODELS):
        for task in range(TASKS):
            run_id = f"{model:02x}{task:02x}".ljust(16, "0")
            if not (path / "runs" / run_id / "run.json").is_file():
                run, table = run_of(model, task)
                with store.begin(run.run_id) as folder:
                    pq.write_table(table, folder.path / "samples.parquet", compression="zstd")
                    folder.state(run)
    return time.perf_counter() - began


class Measured(NamedTuple):
    """Seconds by the clock and of the processor, the first time and again, and the process's peak memory."""

    clock: float
    processor: float
    clock_again: float
    processor_again: float
    peak_mb: float


def measured(path: Path, step: str, a: str, b: str, metric: str) -> Measured:
    """A step in a fresh process."""
    code = ASKED.format(opening=STEPS["opening"])
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), a, b, metric, step], capture_output=True, text=True, check=True
    )
    *seconds, peak = map(float, done.stderr.split())
    return Measured(*seconds, peak_mb=peak / MEGABYTE)


def report(path: Path, built: float) -> tuple[list[str], list[str]]:
    """The report's lines, and what is more than allowed."""
    rows: list[str] = []
    failed: list[str] = []
    highest = 0.0
    for name, step in STEPS.items():
        task = METRICS.index("anls/rrc") if name == "compare" else 0  # the slowest bootstrap: no two scores alike
        pair = [f"{model:02x}{task:02x}".ljust(16, "0") for model in (0, 1)]
        runs = [measured(path, step, *pair, METRICS[0]) for _ in range(REPEATS)]
        middle = Measured(*(statistics.median(column) for column in zip(*runs, strict=True)))
        peak, used = max(one.peak_mb for one in runs), [one.processor for one in runs]
        highest = max(highest, peak)
        allowed = ALLOWED.get(name)
        rows.append(
            f"| {name} | {middle.processor:.3f} | {min(used):.3f}-{max(used):.3f} | {middle.processor_again:.3f} | "
            f"{middle.clock:.3f} | {allowed or '–'} | {peak:,.0f} |"
        )
        if allowed is not None and middle.processor > allowed:
            failed.append(f"{name}: {middle.processor:.3f} s, {allowed} allowed")
    if highest > ALLOWED_MB:
        failed.append(f"memory: {highest:,.0f} MB, {ALLOWED_MB} allowed")
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / MEGABYTE
    how = f"built in {built:.0f} s" if built > 1 else "built before"
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return [
        "# A large store",
        "",
        f"`python benchmarks/leaderboard_store.py` on {machine.facts()}; load {load} on {os.cpu_count()} cores.",
        "",
        f"{MODELS * TASKS} runs with {SAMPLES:,} samples each ({size:,.0f} MB, {how}): {MODELS} models "
        f"on {TASKS} tasks, {PER_DOCUMENT} questions a document, {len(KINDS)} slices, scores of 0 and 1, of tenths, and of "
        "any value.",
        f"Seconds of the processor (all threads together), {REPEATS} fresh processes each, imports not counted; they do not "
        "depend on what else the machine does, and are what is compared with the allowed ones. The clock's time does, see "
        "the load. *again* is the same call in the same process. *leaderboard* holds the paired tests of all pairs of "
        "models on every task, *compare* a bootstrap by document of the whole and of each slice where no two scores are "
        "alike.",
        "",
        "| | processor | from - to | again | clock | allowed | peak MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *rows,
        "",
    ], failed


def main() -> None:
    """Build, measure, write the report, and fail where something takes more than is allowed."""
    parser = machine.options(__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="where the store is built and left")
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as temporary:
        path = folder or Path(temporary)
        built = build(path)
        lines, failed = report(path, built)
    REPORT.write_text("\n".join(lines))
    print("\n".join(lines))
    if failed:
        raise SystemExit("more than allowed: " + "; ".join(failed))


if __name__ == "__main__":
    main()
