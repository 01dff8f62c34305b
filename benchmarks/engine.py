"""How much faster the engine is than transformers' `generate`: same checkpoint, same prompts, same answers, in one run.

    python benchmarks/engine.py [--rows idefics-8-fixed,llava-0] [--questions 64] [--repeats 3]

Random models of 40-80 million parameters in the published layouts, so that nothing has to be fetched; transformers gets our
token ids and pixels, so that only the work differs. Sides alternate; the ratio of each pair is taken, and their median
quoted. Rows that miss their ratio are run once more under torch's profiler, and then the script fails. Writes
`reports/engine.json` and `reports/engine.md`, which keep the rows that are not run.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from arithmetic import floor_operations, matmul_rate
from PIL import Image as pil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import flamingo_lab as fl  # noqa: E402
from flamingo_lab.bench.theirs import Theirs  # noqa: E402
from flamingo_lab.bench.turns import Turns, against  # noqa: E402
from flamingo_lab.engine import loop  # noqa: E402
from flamingo_lab.engine.plan import job  # noqa: E402
from tests.families import tiny_idefics, tiny_llava  # noqa: E402 - the makers of checkpoints stand with the tests

REPORTS = Path(__file__).parent / "reports"

NEW_TOKENS = 16
POOL = 64
"""Pictures that random shots are drawn from."""

SLOWEST = 8
"""Operators that a profile lists."""

WORDS = ("what", "is", "the", "colour", "of", "two", "birds", "on", "a", "red", "car", "near", "old", "water", "tree")

IDEFICS: dict[str, Any] = {
    "hidden_size": 512,
    "num_attention_heads": 8,
    "intermediate_size": 1408,
    "num_hidden_layers": 12,
    "cross_layer_interval": 4,
    "max_position_embeddings": 2048,
    "vision_config": {
        "embed_dim": 384,
        "image_size": 224,
        "patch_size": 14,
        "intermediate_size": 1536,
        "num_attention_heads": 6,
        "num_hidden_layers": 8,
    },
    "perceiver_config": {
        "qk_layer_norms_perceiver": True,
        "resampler_depth": 2,
        "resampler_head_dim": 64,
        "resampler_n_heads": 6,
        "resampler_n_latents": 64,
    },
}

LLAVA = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
}
TOWER = {
    "hidden_size": 384,
    "intermediate_size": 1536,
    "num_hidden_layers": 8,
    "num_attention_heads": 6,
    "image_size": 336,
    "patch_size": 14,
}


@dataclass(frozen=True)
class Workload:
    """Questions with their pictures and shots; `at_least`: the ratio that is asked for."""

    name: str
    title: str
    layout: str
    shots: int
    shots_are: str
    per_image: int
    at_least: float
    dtype: str = "float32"
    options: int = 0


ROWS = (
    Workload("idefics-8-fixed", "IDEFICS layout, 8 fixed shots", "idefics", 8, "fixed", 1, 8.0),
    Workload("idefics-8-random", "IDEFICS layout, 8 random shots from a pool of 64", "idefics", 8, "random", 1, 3.0),
    Workload("idefics-0", "IDEFICS layout, 0 shots", "idefics", 0, "fixed", 1, 1.5),
    Workload("llava-0", "LLaVA-1.5 layout, 4 questions an image, 0 shots", "llava", 0, "fixed", 4, 2.5),
    Workload("llava-4", "LLaVA-1.5 layout, 4 fixed shots, one question an image", "llava", 4, "fixed", 1, 4.0),
    Workload("llava-4-4", "LLaVA-1.5 layout, 4 fixed shots, 4 questions an image", "llava", 4, "fixed", 4, 8.0),
    Workload(
        "idefics-bf16", "IDEFICS layout, 8 fixed shots, both in bfloat16", "idefics", 8, "fixed", 1, 6.0, "bfloat16"
    ),
    Workload(
        "llava-bf16", "LLaVA-1.5 layout, 4 fixed shots, both in bfloat16", "llava", 4, "fixed", 1, 3.0, "bfloat16"
    ),
    Workload(
        "rank-4",
        "LLaVA-1.5 layout, 4 options ranked, each by a whole pass on the other side",
        "llava",
        0,
        "fixed",
        1,
        3.0,
        options=4,
    ),
)


BOUNDS = {
    "idefics-8-random": "96 % of the tokens are really distinct and pictures are encoded once already; the column *at the "
    "floor* has what the measured product rate alone would give. [What was tried](../README.md#notes-from-profiles).",
    "idefics-0": "All pictures and tokens are distinct, so nothing is left to share; the column *at the floor* has what the "
    "measured product rate alone would give. [What was tried](../README.md#notes-from-profiles) brought little.",
}
"""What bounds a row where it misses its ratio, and what was tried."""


@dataclass(frozen=True)
class Measured:
    """A row of the report. `floor`: the share of our time that the unavoidable arithmetic would take.

    ours, theirs: seconds in each of torch's operators, of a row that misses its ratio.
    """

    name: str
    title: str
    at_least: float
    floor: float
    turns: Turns
    repeats: int
    counters: dict[str, float]
    ours: dict[str, float]
    theirs: dict[str, float]
    machine: str

    @property
    def missed(self) -> str:
        """What falls short of what is asked for, empty where nothing does."""
        ratio = self.turns.ratio
        return f"{self.title}: {ratio:.2f} x, {self.at_least:g} x asked for" if ratio < self.at_least else ""


def picture(seed: int, side: int) -> fl.Image:
    """A picture that no other seed gives."""
    drawn = np.random.default_rng(seed).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    return fl.Image(pil.fromarray(drawn).resize((side, side)), name=f"picture {seed}")


def words(seed: int, least: int, most: int) -> str:
    """A few words."""
    draw = np.random.default_rng([7, seed])
    return " ".join(draw.choice(WORDS, size=draw.integers(least, most + 1)))


def requests(work: Workload, count: int) -> list[fl.Request]:
    """The workload's questions."""
    side = (IDEFICS["vision_config"] if work.layout == "idefics" else TOWER)["image_size"]
    pool = [
        fl.Shot(picture(10_000 + n, side), words(n, 6, 12) + "?", answer=words(1000 + n, 1, 2)) for n in range(POOL)
    ]
    pictures = [picture(n, side) for n in range(-(-count // work.per_image))]
    asked: list[fl.Request] = []
    for n in range(count):
        draw = np.random.default_rng([9, n])
        chosen = range(work.shots) if work.shots_are == "fixed" else draw.choice(POOL, work.shots, replace=False)
        prompt = fl.Prompt.ask(
            pictures[n // work.per_image], words(5000 + n, 6, 12) + "?", shots=[pool[i] for i in chosen]
        )
        ranked = fl.Rank(tuple(f"{words(9000 + n, 2, 3)} {option}" for option in range(work.options)))
        decoding = ranked if work.options else fl.Greedy()
        asked.append(fl.Request(str(n), prompt, decoding, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS))
    return asked


@cache
def both(layout: str, dtype: str, folder: Path) -> tuple[fl.LoadedModel, Any]:
    """The same weights in our model and in transformers'."""
    path = folder / f"{layout}-{dtype}"
    path.mkdir()
    if layout == "idefics":
        theirs = tiny_idefics.write_checkpoint(path, IDEFICS, seed=1)
        size: dict[str, Any] = {"image_size": IDEFICS["vision_config"]["image_size"]}
    else:
        theirs = tiny_llava.write_converted(path, LLAVA, TOWER, 1)
        side = TOWER["image_size"]
        size = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    (path / "preprocessor_config.json").write_text(json.dumps(size))
    ours = fl.load(path, dtype=dtype, device="cpu")
    assert isinstance(ours, fl.LoadedModel)  # a folder of one model is one
    return ours, theirs.to(getattr(torch, dtype)).eval()


def operators(call: Callable[[], Any]) -> dict[str, float]:
    """Seconds in each of torch's operators, without those that it calls."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        call()
    seconds = {event.key.removeprefix("aten::"): event.self_cpu_time_total / 1e6 for event in profile.key_averages()}
    return dict(sorted(seconds.items(), key=lambda pair: -pair[1])[:SLOWEST])


def measure(work: Workload, questions: int, repeats: int, folder: Path) -> Measured:
    """Ours against theirs, turn by turn."""
    ours, network = both(work.layout, work.dtype, folder)
    jobs = [job(ours, request) for request in requests(work, questions)]
    theirs = Theirs(network, ours)
    counted: list[dict[str, float]] = []
    rate = matmul_rate(ours.vlm.dtype)
    turns = against(ours, theirs, jobs, repeats, lambda done: counted.append(ours.work.counters()))
    rate = max(rate, matmul_rate(ours.vlm.dtype))
    counters = {name: (value - counted[0][name]) / repeats for name, value in counted[-1].items()}
    floor = floor_operations(ours, jobs, NEW_TOKENS) / rate / turns.ours_seconds
    is_missed = turns.ratio < work.at_least
    measured = Measured(
        work.name,
        work.title,
        work.at_least,
        floor,
        turns,
        repeats,
        counters,
        operators(lambda: [*loop.answers(ours, [one.request for one in jobs])]) if is_missed else {},
        operators(lambda: theirs.answer(jobs, turns.theirs_batch)) if is_missed else {},
        f"{datetime.now(UTC):%Y-%m-%d}, {machine.facts()}, {torch.get_num_threads()} threads",
    )
    print(
        f"{work.title}: {turns.ours_seconds:.1f} s against {turns.theirs_seconds:.1f} s at batch {turns.theirs_batch}, "
        f"{turns.ratio:.2f} x (asked for {work.at_least:g} x); {parting(turns)} of the answers differ, "
        f"floor {100 * measured.floor:.0f} %, load {turns.load:.1f}",
        flush=True,
    )
    return measured


def parting(turns: Turns) -> str:
    """The share of answers that differ, and by how little."""
    return f"{100 * turns.differing:.1f} %" + (f" ({turns.margin:.0e})" if turns.differing else "")


def report(rows: Sequence[Measured]) -> str:
    """The tables in Markdown."""
    machines = sorted({row.machine for row in rows})
    lines = [
        "# The engine against transformers",
        "",
        f"`python benchmarks/engine.py`, {NEW_TOKENS} new tokens an answer. Both sides get the same token ids and pixels; "
        "transformers has its best batch size.",
        "Ratios are medians of pairs of turns; seconds of different machines are not to be compared.",
        "*Floor*: the arithmetic that cannot be avoided, at the measured rate of a 2048 x 2048 product, over our time;",
        "*at the floor*: the ratio, if that were all. *Differ (by)*: how far apart in log-probability the two choices are where",
        "such an answer parts, at the most: random models often have two tokens as good as equal.",
        "",
        *(f"{machine.letter(number)}: {one}." for number, one in enumerate(machines)),
        "",
        "| workload | ours | transformers (batch) | ratio (pairs) | asked for | answers that differ (by) | floor | at the floor "
        "| load | machine |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        turns = row.turns
        lines.append(
            f"| {row.title} | {turns.ours_seconds:.1f} s | {turns.theirs_seconds:.1f} s ({turns.theirs_batch}) "
            f"| {turns.ratio:.1f} x ({row.repeats}) | {row.at_least:g} x | {parting(turns)} "
            f"| {100 * row.floor:.0f} % | {turns.ratio / row.floor:.1f} x | {turns.load:.1f} "
            f"| {machine.letter(machines.index(row.machine))} |"
        )
    lines += [
        "",
        "What was computed, the same on any machine:",
        "",
        "| workload | prompt tokens computed / asked | pictures encoded / shown | decoding steps / new tokens | padding |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        held = row.counters
        padding = held["positions_padding"] / max(1, held["positions_fed"])
        lines.append(
            f"| {row.title} | {held['prompt_tokens_computed']:,.0f} / {held['prompt_tokens_asked']:,.0f} "
            f"| {held['images_encoded']:,.0f} / {held['images_referenced']:,.0f} "
            f"| {held['decode_steps']:,.0f} / {held['generated_tokens']:,.0f} | {100 * padding:.1f} % |"
        )
    for row in rows:
        if row.ours:
            lines += ["", *profiled(row)]
    return "\n".join(lines) + "\n"


def profiled(row: Measured) -> list[str]:
    """Where the time of a row that misses its ratio goes."""
    names = [*row.ours, *(name for name in row.theirs if name not in row.ours)]
    said = {
        side: {name: f"{held[name]:.2f}" for name in held}
        for side, held in (("ours", row.ours), ("theirs", row.theirs))
    }
    return [
        f"## {row.title}: where the time goes",
        "",
        *([BOUNDS[row.name], ""] if row.name in BOUNDS else []),
        "One turn of each side under torch's profiler: the slowest operators, in seconds, each without those that it calls.",
        "",
        "| operator | ours | transformers |",
        "| --- | ---: | ---: |",
        *(f"| `{name}` | {said['ours'].get(name, '–')} | {said['theirs'].get(name, '–')} |" for name in names),
    ]


def kept(file: Path) -> dict[str, Measured]:
    """The rows of former runs by name."""
    if not file.exists():
        return {}
    return {row["name"]: Measured(**{**row, "turns": Turns(**row["turns"])}) for row in json.loads(file.read_text())}


def main() -> int:
    """Measure the rows, write the report, and fail where less is reached than is asked for."""
    parser = machine.options(__doc__)
    parser.add_argument("--rows", default=",".join(row.name for row in ROWS))
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=REPORTS)
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    named = {row.name: row for row in ROWS}
    file = told.out / "engine.json"
    rows = kept(file)
    asked = told.rows.split(",")
    with tempfile.TemporaryDirectory() as folder:
        for name in asked:
            rows[name] = measure(named[name], told.questions, told.repeats, Path(folder))
            held = [rows[one] for one in named if one in rows]
            # After every row: some take a quarter of an hour.
            file.write_text(json.dumps([asdict(row) for row in held], indent=1) + "\n")
            (told.out / "engine.md").write_text(report(held))
    missed = [rows[name].missed for name in asked if rows[name].missed]
    print("\n".join(missed), file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
