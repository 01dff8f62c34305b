"""How much faster the engine is than transformers' `generate`: same checkpoint, same prompts, same answers, in one run.

    python benchmarks/engine.py [--rows idefics-8-fixed,llava-0] [--questions 64] [--repeats 3]

Random models of 40-80 million parameters in the published layouts, so that nothing has to be fetched; transformers gets our
token ids and pixels, so that only the work differs. Sides alternate; the ratio of each pair is taken, and their median
quoted. Writes `reports/engine.json` and `reports/engine.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import machine
import numpy as np
import torch
from PIL import Image as pil
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import flamingo_lab as fl  # noqa: E402
from flamingo_lab.engine import loop, tree  # noqa: E402
from flamingo_lab.engine.plan import Job, job  # noqa: E402
from tests.batches import left_padded  # noqa: E402 - the makers of checkpoints stand with the tests
from tests.families import tiny_idefics, tiny_llava  # noqa: E402

REPORTS = Path(__file__).parent / "reports"

NEW_TOKENS = 16
POOL = 64
"""Pictures that random shots are drawn from."""

BATCHES = (1, 2, 4, 8, 16, 32)
"""Batch sizes of which transformers may choose its best."""

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
)


@dataclass(frozen=True)
class Measured:
    """A row of the report. Seconds are medians; `floor`: the share of them that the unavoidable arithmetic would take."""

    name: str
    title: str
    ours_seconds: float
    theirs_seconds: float
    ratio: float
    at_least: float
    theirs_batch: int
    differing: float
    floor: float
    load: float
    counters: dict[str, float]


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
        asked.append(fl.Request(str(n), prompt, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS))
    return asked


class Theirs:
    """transformers' own model on our token ids and pixels, as its users write the loop."""

    def __init__(self, model: Any, ours: fl.LoadedModel, layout: str) -> None:
        self.model = model
        self.ours = ours
        self.layout = layout
        self.forbidden = [[ours.tokenizer.id_of(word)] for word in ours.forbidden]

    def answer(self, jobs: Sequence[Job], batch: int) -> dict[str, tuple[int, ...]]:
        """New tokens by question."""
        found: dict[str, tuple[int, ...]] = {}
        for first in range(0, len(jobs), batch):
            part = jobs[first : first + batch]
            ids, inputs = self._inputs(part)
            with torch.inference_mode():
                out = self.model.generate(
                    input_ids=ids,
                    **inputs,
                    max_new_tokens=NEW_TOKENS,
                    min_new_tokens=NEW_TOKENS,
                    do_sample=False,
                    pad_token_id=0,
                    bad_words_ids=self.forbidden or None,
                )
            found |= {one.request.id: tuple(row[ids.shape[1] :].tolist()) for one, row in zip(part, out, strict=True)}
        return found

    def _inputs(self, jobs: Sequence[Job]) -> tuple[Tensor, dict[str, Tensor]]:
        dtype = self.ours.vlm.dtype
        pixels = [
            torch.from_numpy(self.ours.pipeline(image.load())[0]).to(dtype)
            for one in jobs
            for image in one.rendered.images
        ]
        if self.layout == "llava":
            mark = self.model.config.image_token_id
            ids, real = left_padded([[mark if token < 0 else token for token in one.ids] for one in jobs])
            return ids, {"attention_mask": real.long(), "pixel_values": torch.stack(pixels)}
        ids, real = left_padded([one.ids for one in jobs])
        sees, _ = left_padded([one.sees for one in jobs], -1)
        count = len(jobs[0].rendered.images)
        mask = (sees[..., None] == torch.arange(count)) & real[..., None]
        held = torch.stack(pixels).unflatten(0, (len(jobs), count))
        return ids, {"attention_mask": real.long(), "pixel_values": held, "image_attention_mask": mask.long()}


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
    return ours, theirs.to(getattr(torch, dtype)).eval()


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came back."""
    began = time.perf_counter()
    found = call()
    return time.perf_counter() - began, found


def best_batch(theirs: Theirs, jobs: Sequence[Job]) -> int:
    """The batch size at which transformers answers most questions a second."""
    rates: dict[int, float] = {}
    for size in BATCHES:
        part = jobs[: max(size, 8)]
        if len(part) < size:
            break
        rates[size] = len(part) / timed(lambda part=part, size=size: theirs.answer(part, size))[0]
        if rates[size] < 0.8 * max(rates.values()):
            break
    return max(rates, key=lambda size: rates[size])


def matmul_rate(dtype: torch.dtype) -> float:
    """Operations a second of a 2048 x 2048 product."""
    a, b = torch.randn(2, 2048, 2048).to(dtype)
    a @ b
    return 2 * 2048**3 / min(timed(lambda: a @ b)[0] for _ in range(5))


def floor_seconds(model: fl.LoadedModel, jobs: Sequence[Job]) -> float:
    """What cannot be avoided, at the measured matrix-product rate: distinct pictures, distinct prompt tokens, new tokens."""
    vlm = model.vlm
    built = vlm.architecture
    leaves = tree.leaves(jobs)
    nodes = {node for leaf in leaves for node in leaf.above}
    tokens = sum(leaf.own_tokens + NEW_TOKENS - 1 for leaf in leaves) + sum(node.end - node.first for node in nodes)
    pictures = len({image.digest for one in jobs for image in one.rendered.images})
    assert vlm.tower is not None
    of_picture = weights(vlm.tower) * built.tower.positions + weights(vlm.connector) * built.tokens_per_view
    of_token = sum(p.numel() for p in [*vlm.decoder.layers.parameters(), *vlm.join.parameters()] if p.ndim > 1)
    of_new = len(jobs) * NEW_TOKENS * vlm.decoder.embedding.weight.numel()
    return 2 * (pictures * of_picture + tokens * of_token + of_new) / matmul_rate(vlm.dtype)


def weights(module: torch.nn.Module) -> int:
    """Numbers that a token is multiplied by."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.ndim > 1)


def measure(work: Workload, questions: int, repeats: int, folder: Path) -> Measured:
    """Ours against theirs, turn by turn."""
    ours, model = both(work.layout, work.dtype, folder)
    theirs = Theirs(model, ours, work.layout)
    asked = requests(work, questions)
    jobs = [job(ours, request) for request in asked]
    size = best_batch(theirs, jobs)
    list(loop.answers(ours, asked[:2]))
    pairs: list[tuple[float, float]] = []
    differing = 0
    before = ours.work.counters()
    for _ in range(repeats):
        mine, found = timed(lambda: {answer.id: answer.token_ids for answer in loop.answers(ours, asked)})
        their, expected = timed(lambda: theirs.answer(jobs, size))
        pairs.append((mine, their))
        differing = sum(found[name] != expected[name] for name in found)
    counters = {name: (value - before[name]) / repeats for name, value in ours.work.counters().items()}
    ratio = statistics.median(their / mine for mine, their in pairs)
    mine, their = (statistics.median(side) for side in zip(*pairs, strict=True))
    floor = floor_seconds(ours, jobs) / mine
    measured = Measured(
        work.name,
        work.title,
        mine,
        their,
        ratio,
        work.at_least,
        size,
        differing / questions,
        floor,
        os.getloadavg()[0],
        counters,
    )
    print(
        f"{work.title}: {mine:.1f} s against {their:.1f} s at batch {size}, {ratio:.2f} x (asked for {work.at_least:g} x)",
        f"{differing} answers differ, floor {100 * floor:.0f} %, load {measured.load:.1f}",
        sep="; ",
        flush=True,
    )
    return measured


def report(rows: Sequence[Measured], threads: int) -> str:
    """The table in Markdown."""
    lines = [
        "# The engine against transformers",
        "",
        f"`{machine.command()}`, {datetime.now(UTC):%Y-%m-%d}, {machine.facts()}, {threads} threads.",
        "",
        f"{NEW_TOKENS} new tokens an answer. Both sides get the same token ids and pixels; transformers has its best batch size.",
        "`floor`: the arithmetic that cannot be avoided, at the measured matrix-product rate, over our time.",
        "",
        "| workload | ours | transformers (batch) | ratio | asked for | answers that differ | floor | load |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row.title} | {row.ours_seconds:.1f} s | {row.theirs_seconds:.1f} s ({row.theirs_batch}) | {row.ratio:.1f} x "
        f"| {row.at_least:g} x | {100 * row.differing:.1f} % | {100 * row.floor:.0f} % | {row.load:.1f} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure the rows and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", default=",".join(row.name for row in ROWS))
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=REPORTS)
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    wanted = told.rows.split(",")
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(row, told.questions, told.repeats, Path(folder)) for row in ROWS if row.name in wanted]
    (told.out / "engine.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    (told.out / "engine.md").write_text(report(rows, told.threads))


if __name__ == "__main__":
    main()
