"""What one driver does for many replicas: answers a second, memory, how well replicas are used, and what is shared less.

    python benchmarks/scale_out.py [--requests 1000000]

*Driver*: two replicas that answer at once, on a Ray that is started here; every answer goes through the driver into a
journal. Each size runs in a process of its own. *Simulation*: the same scheduler with counted time, for the service times of
flamingo-tiny that are measured here, and for the driver's own. *Sharing*: prompt tokens and pictures that replicas compute,
against one machine, counted by the engine's own plan. Writes `reports/scale_out.md`; ends with 1 where less is reached than
is asked for.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import machine
from PIL import Image as pil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from simulated_cluster import Ended, Service, Simulation  # noqa: E402

import flamingo_lab as fl  # noqa: E402
from eval_tasks.run_record import to_line  # noqa: E402
from flamingo_lab import host  # noqa: E402
from flamingo_lab.engine import tree  # noqa: E402
from flamingo_lab.engine.plan import Job, job  # noqa: E402
from flamingo_lab.replicas import driver  # noqa: E402
from flamingo_lab.replicas.schedule import Schedule, Shard  # noqa: E402
from leaderboards.journal import Journal  # noqa: E402
from tests.doubles import Scripted  # noqa: E402
from tests.families import tiny_llava  # noqa: E402

REPORT = Path(__file__).parent / "reports" / "scale_out.md"

SIZES = (10_000, 100_000)
"""Requests, besides those of `--requests`."""

LEAST_ANSWERS = 5_000
"""Journaled answers that the driver has to pass in a second."""

MEMORY_GROWS = 1.1
"""How much more memory the largest run may take than the smallest."""

VQAV2 = 214_354
"""Questions of VQAv2's validation split."""

REPLICAS = (1, 4, 16, 64, 256)
AT_64 = 0.95
"""Of the replicas' time that has to go into questions at 64 of them."""

LIFETIMES = {"none": float("inf"), "one an hour": 3600.0}
"""How often each replica is lost. Cloud machines that may be taken away are lost about once in some hours."""

NARROW = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
DECODER: dict[str, Any] = NARROW | {"max_position_embeddings": 4096, "rms_norm_eps": 1e-5}
TOWER: dict[str, Any] = NARROW | {"image_size": 336, "patch_size": 14}
"""LLaVA-1.5's positions, 576 for a picture, with no weights to speak of: nothing is computed."""

PER_PICTURE = 5
PICTURES = 64
SHARED, FEW = 4000, (1, 4, 16)
"""Questions that the sharing is counted on, and over how many replicas: at least 250 for each."""


class Driven(NamedTuple):
    """A run through the driver. `driver_seconds`: of the processor, all threads of the driver's process."""

    requests: int
    seconds: float
    driver_seconds: float
    peak_mb: float


def questions(count: int, pictures: Sequence[fl.Image]) -> Iterator[fl.Request]:
    """A stream: some questions about each picture."""
    for number in range(count):
        picture = pictures[number // PER_PICTURE % len(pictures)]
        prompt = fl.Prompt.ask(picture, f"What colour is object {number} in the picture, and is it left of the others?")
        yield fl.Request(f"question-{number}", prompt)


def pictures(folder: Path) -> list[fl.Image]:
    made: list[fl.Image] = []
    for number in range(PICTURES):
        pil.new("RGB", (32, 32), (number, 2 * number, 255 - number)).save(folder / f"{number}.png")
        made.append(fl.Image(folder / f"{number}.png"))
        _ = made[-1].digest  # as the runner's plan does
    return made


def at_once(beside: int) -> partial[Scripted]:
    """What makes a model that answers at once. It is called in the replicas."""
    return partial(Scripted, asked=Forgetful())


class Forgetful(list[str]):
    """A list that holds nothing, however many are asked."""

    def append(self, value: str) -> None:
        """Forget it."""


def drive(count: int) -> Driven:
    """Ask so many questions, and journal the answers."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = driver.start(at_once, "auto", replicas=2)
        stream = questions(count, pictures(folder))
        began, used = time.perf_counter(), time.process_time()
        with Journal(folder / "journal.jsonl") as journal:
            done = 0
            for answer in model.answers(stream):
                journal.append(to_line(answer))
                done += 1
        assert done == count
        spent, used = time.perf_counter() - began, time.process_time() - used
    return Driven(count, spent, used, host.peak_bytes() / 2**20)


def driven(count: int) -> Driven:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--drive", str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found = Driven(*json.loads(done.stdout.splitlines()[-1]))
    print(f"{count:,} requests: {count / found.seconds:,.0f} answers/s, {found.peak_mb:,.0f} MB", flush=True)
    return found


def driver_part(sizes: Iterable[int]) -> tuple[list[str], list[str], float]:
    """The report's lines, what is missed, and the driver's seconds for an answer."""
    runs = [driven(size) for size in sizes]
    longest = runs[-1]
    lines = [
        "## The driver",
        "",
        "Answers a second through the driver into the journal, with two replicas that answer at once on the same machine. "
        "The processor's time is that of the driver's process alone, in all its threads.",
        "",
        "| requests | answers/s | driver's µs an answer | peak MB |",
        "| ---: | ---: | ---: | ---: |",
        *(
            f"| {one.requests:,} | {one.requests / one.seconds:,.0f} | "
            f"{1e6 * one.driver_seconds / one.requests:.0f} | {one.peak_mb:,.0f} |"
            for one in runs
        ),
        "",
    ]
    failed: list[str] = []
    if longest.requests / longest.seconds < LEAST_ANSWERS:
        failed.append(f"{longest.requests / longest.seconds:,.0f} answers/s, {LEAST_ANSWERS:,} asked for")
    if longest.peak_mb > MEMORY_GROWS * runs[0].peak_mb:
        failed.append(f"memory grew from {runs[0].peak_mb:,.0f} to {longest.peak_mb:,.0f} MB")
    return lines, failed, longest.driver_seconds / longest.requests


def measured_service(driver_seconds: float) -> Service:
    """The bundled model's on one core: for a question, and for each shard, from shards of two sizes; the processor's time."""
    import torch

    from eval_tasks import plan, task
    from eval_tasks.plan import Settings

    torch.set_num_threads(1)  # several that wait for each other count as work
    model = fl.load("flamingo-tiny")
    settings = Settings(num_fewshot=4, limit=320)
    asked = [one.request for one in plan.plan(model, task.get("easy-vqa"), settings).asked]

    def seconds(size: int) -> float:
        """For all questions, in shards of this size."""
        began = time.process_time()
        for start in range(0, len(asked), size):
            list(model.answers(asked[start : start + size]))
        return time.process_time() - began

    seconds(64)  # warm
    small, large = min(seconds(16) for _ in range(3)), min(seconds(160) for _ in range(3))
    shards = len(asked) // 16 - len(asked) // 160
    for_shard = max(0.0, (small - large) / shards)
    for_question = (large - for_shard * (len(asked) // 160)) / len(asked)
    return Service(for_question, for_shard, driver_seconds)


def simulation_part(service: Service) -> tuple[list[str], list[str]]:
    """The report's lines, and what is missed."""
    lines = [
        "## Simulated replicas",
        "",
        f"{VQAV2:,} questions, as many as VQAv2's validation split has; flamingo-tiny with 4 shots on one core takes "
        f"{1e3 * service.question_seconds:.2f} ms for a question (drawn with a spread of {service.spread}) and "
        f"{1e3 * service.shard_seconds:.0f} ms more for a shard, the driver {1e6 * service.driver_seconds:.0f} µs for an "
        f"answer. A loss is noticed after {service.noticed_seconds:.0f} s, and another replica answers "
        f"{service.load_seconds:.0f} s later. *Used* is the time of questions on one machine over that of all replicas "
        "together. At 256 replicas the driver's own time is what limits a model this fast; the last rows are for one that "
        "takes 0.1 s for a question.",
        "",
        "| seconds a question | losses of a replica | replicas | seconds | used | lost | asked twice | errors |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    failed: list[str] = []
    for seconds in (service.question_seconds, 0.1):
        for name, lifetime in LIFETIMES.items():
            held = dataclasses.replace(service, question_seconds=seconds, lifetime_seconds=lifetime)
            for replicas in REPLICAS:
                ended: Ended = Simulation(VQAV2, replicas, held).run()
                used = VQAV2 * seconds / replicas / ended.seconds
                lines.append(
                    f"| {seconds:.4f} | {name} | {replicas} | {ended.seconds:,.0f} | {100 * used:.1f} % | {ended.lost} | "
                    f"{ended.asked_twice:,} | {ended.errors} |"
                )
                if replicas == 64 and used < AT_64:
                    failed.append(f"64 replicas, {seconds:.4f} s a question, losses {name}: {100 * used:.1f} % used")
    return [*lines, ""], failed


def tokens_of(jobs: Sequence[Job]) -> int:
    """Prompt tokens that an engine computes for these, by its own plan."""
    found = tree.leaves(jobs)
    nodes = {id(node): node for leaf in found for node in leaf.above}
    return sum(leaf.own_tokens for leaf in found) + sum(node.end - node.first for node in nodes.values())


def pictures_of(jobs: Iterable[Job]) -> set[str]:
    return {image.digest for one in jobs for image in one.rendered.images}


def asked_with(shots: int, kind: str) -> list[fl.Request]:
    """Questions about pictures, several each, after shots: the same for all, or drawn from a pool for each."""
    drawn = random.Random(0)
    shades = [
        fl.Image(pil.new("RGB", (32, 32), (n % 256, n // 256, 9))) for n in range(SHARED // PER_PICTURE + PICTURES)
    ]
    pool = [
        fl.Shot(one, f"What is in the picture {n}?", answer=f"thing {n}") for n, one in enumerate(shades[:PICTURES])
    ]
    made: list[fl.Request] = []
    for number in range(SHARED):
        chosen = pool[:shots] if kind == "fixed" else drawn.sample(pool, shots)
        picture = shades[PICTURES + number // PER_PICTURE]
        prompt = fl.Prompt.ask(picture, f"What colour is object {number % 97}, and where is it?", shots=chosen)
        made.append(fl.Request(str(number), prompt))
    drawn.shuffle(made)
    return made


def sharing_part() -> list[str]:
    """The report's lines."""
    lines = [
        "## What is shared less",
        "",
        f"{SHARED:,} questions, {PER_PICTURE} a picture, in mixed order: prompt tokens that are computed and pictures that "
        "are encoded, more than on one machine. Counted by the engine's plan, in LLaVA's layout, whose pictures are tokens "
        "of the prompt, and in that of the bundled model, which looks at them across. Each replica computes shared shots "
        "once a shard, and a picture once, so what is lost is the larger the fewer questions a replica gets.",
        "",
        "| layout | shots | replicas | shards | tokens | pictures |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    with tempfile.TemporaryDirectory() as folder:
        tiny_llava.write_converted(Path(folder), DECODER, TOWER, 1)
        size = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
        (Path(folder) / "preprocessor_config.json").write_text(json.dumps(size))
        for layout, model in (("LLaVA", fl.load(folder)), ("flamingo-tiny", fl.load("flamingo-tiny"))):
            for shots, kind in ((0, "none"), (4, "fixed"), (4, "random")):
                asked = asked_with(shots, kind)
                jobs = {one.id: job(model, one) for one in asked}
                alone = tokens_of(list(jobs.values())), len(pictures_of(jobs.values()))
                for replicas in FEW:
                    shards = [(shard.replica, [jobs[id] for id in shard.left]) for shard in handed_out(asked, replicas)]
                    tokens = sum(tokens_of(some) for _, some in shards)
                    # A replica keeps pictures from one shard to the next.
                    seen = {(replica, picture) for replica, some in shards for picture in pictures_of(some)}
                    more = [f"{100 * (n / one - 1):+.1f} %" for n, one in zip((tokens, len(seen)), alone, strict=True)]
                    named = "none" if kind == "none" else f"{shots} {kind}"
                    lines.append(f"| {layout} | {named} | {replicas} | {len(shards)} | {more[0]} | {more[1]} |")
    return [*lines, ""]


def handed_out(asked: Sequence[fl.Request], replicas: int) -> Iterator[Shard]:
    """The shards of a run in which every replica is as fast as the others."""
    schedule = Schedule(asked, replicas)
    names = itertools.cycle([str(number) for number in range(replicas)])
    while not schedule.done:
        if shard := schedule.next(next(names)):
            yield shard
            list(schedule.answered(shard, [fl.Answer(id) for id in list(shard.left)]))
            list(schedule.ended(shard))


def main() -> int:
    """Measure, write the report, and fail where less is reached than is asked for."""
    parser = machine.options(__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000, help="of the longest run through the driver")
    parser.add_argument("--drive", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.drive:
        print(json.dumps(drive(given.drive)))
        return 0
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    sizes = [*(size for size in SIZES if size < given.requests), given.requests]
    through, too_slow, driver_seconds = driver_part(sizes)
    simulated, too_idle = simulation_part(measured_service(driver_seconds))
    lines = [
        "# One evaluation over many machines",
        "",
        f"`{machine.command()}` on {machine.facts()}; load before {load} on {os.cpu_count()} cores.",
        "",
        *through,
        *simulated,
        *sharing_part(),
    ]
    REPORT.write_text("\n".join(lines))
    print("\n".join(lines))
    failed = [*too_slow, *too_idle]
    print("\n".join(failed), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
