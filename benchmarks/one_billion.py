"""A decoder of a billion parameters: how near prefill is to the machine's matrix products, and decoding to its memory.

    python benchmarks/one_billion.py [--dtypes float32,bfloat16] [--repeats 5]

Random weights in LLaVA's layout, text prompts, through the engine. The machine's rates are measured in the same run, in
turn with the model's: the fp32 rate of a 2048 x 2048 product, and the rate at which a tensor larger than any cache is read.
Writes `reports/one_billion.md` and `.json`.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import machine
import torch
from arithmetic import spared

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import flamingo_lab as fl  # noqa: E402
from flamingo_lab import families  # noqa: E402
from flamingo_lab.family import Folder  # noqa: E402
from flamingo_lab.prepared import laid  # noqa: E402
from flamingo_lab.vlm import VLM  # noqa: E402
from flamingo_lab.weights import put  # noqa: E402
from tests.families import tiny_llava  # noqa: E402 - the makers of checkpoints stand with the tests

REPORTS = Path(__file__).parent / "reports"

SMALL = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
LARGE = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 20,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
}

PROMPT_CHARACTERS = 3000
NEW_TOKENS = 12
AT_LEAST = 0.6


@dataclass(frozen=True)
class Measured:
    """A stage's rate against the machine's, both in the same unit; the share is the median over the turns."""

    stage: str
    dtype: str
    unit: str
    rate: float
    machine_rate: float
    share: float
    load: float


def build(folder: Path, dtype: torch.dtype) -> fl.LoadedModel:
    """A small model's folder with a large model's weights, which are drawn in memory."""
    tiny_llava.write_converted(folder, SMALL, tiny_llava.TOWER, seed=1)
    small = fl.load(folder, dtype="float32")
    assert isinstance(small, fl.LoadedModel)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    config["text_config"] |= LARGE
    (folder / "config.json").write_text(json.dumps(config))
    described = Folder(folder)
    architecture = families.of(described).architecture(described)
    torch.manual_seed(0)
    with torch.device("meta"):
        vlm = VLM(architecture)
    vlm.to_empty(device="cpu")
    vlm.to(dtype)
    with torch.no_grad():
        for parameter in vlm.parameters():
            parameter.normal_(0, 0.02)
    lay = laid(vlm, vlm.device, dtype)
    for name in [name for name, _ in vlm.named_parameters()]:
        put(vlm, name, lay(name, vlm.get_parameter(name).detach()))
    return replace(small, vlm=vlm.eval())


def seconds(call: Callable[[], Any]) -> float:
    """Of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def spent(model: fl.LoadedModel, stage: str, request: fl.Request) -> float:
    """Seconds of one stage of the engine."""
    before = model.work.seconds[stage]
    (answer,) = model.answers([request])
    assert answer.error is None, answer.error
    return model.work.seconds[stage] - before


def measure(dtype: str, repeats: int, folder: Path) -> list[Measured]:
    """Prefill in float32, decoding in each dtype."""
    model = build(folder, getattr(torch, dtype))
    decoder = model.vlm.decoder
    weights = sum(parameter.numel() for parameter in decoder.layers.parameters())
    head = decoder.embedding.weight.numel()
    a, b = torch.randn(2, 2048, 2048)
    large = torch.empty(2**28)
    large.fill_(1)
    short = fl.Request("short", fl.Prompt.raw("what is it?"), max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS)
    text = "the red bird sits on the old tree and looks at the water near the road " * (PROMPT_CHARACTERS // 70)
    long = fl.Request("long", fl.Prompt.raw(text), max_new_tokens=1)
    tokens = len(model.sent(long).ids)
    spent(model, "answers", short)
    prefill: list[tuple[float, float]] = []
    decode: list[tuple[float, float]] = []
    for _ in range(repeats):
        if dtype == "float32":
            product = 2 * 2048**3 / min(seconds(lambda: a @ b) for _ in range(3))
            numbers = weights * tokens - spared(decoder) * (tokens - 1) + head
            prefill.append((2 * numbers / spent(model, "prompts", long), product))
        read = large.nbytes / min(seconds(large.sum) for _ in range(3))
        step = spent(model, "answers", short) / (NEW_TOKENS - 1)
        decode.append(((weights + head) * model.vlm.dtype.itemsize / step, read))
    found: list[Measured] = []
    for stage, unit, pairs in (("prefill", "GFLOP/s", prefill), ("decoding", "GB/s", decode)):
        if pairs:
            ours, theirs = (statistics.median(side) / 1e9 for side in zip(*pairs, strict=True))
            share = statistics.median(our / their for our, their in pairs)
            found.append(Measured(stage, dtype, unit, ours, theirs, share, os.getloadavg()[0]))
            print(f"{stage} {dtype}: {ours:.1f} of {theirs:.1f} {unit}, {100 * share:.0f} %", flush=True)
    return found


def main() -> int:
    """Measure, write the report, and fail where less is reached than is asked for."""
    parser = machine.options(__doc__)
    parser.add_argument("--dtypes", default="float32,bfloat16")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=REPORTS)
    told = parser.parse_args()
    torch.set_num_threads(told.threads)
    rows: list[Measured] = []
    for dtype in told.dtypes.split(","):
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(dtype, told.repeats, Path(folder))
    measured = f"{datetime.now(UTC):%Y-%m-%d}, {machine.facts()}, {told.threads} threads"
    lines = [
        "# A decoder of a billion parameters",
        "",
        f"`{machine.command()}`, {measured}.",
        "",
        "Prefill against the fp32 rate of a 2048 x 2048 product, decoding of one sequence against the rate at which 1 GiB is "
        f"read; medians of {told.repeats} turns.",
        "",
        "| stage | dtype | reached | the machine | share | asked for | load |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {row.stage} | {row.dtype} | {row.rate:.1f} {row.unit} | {row.machine_rate:.1f} {row.unit} "
            f"| {100 * row.share:.0f} % | {100 * AT_LEAST:.0f} % | {row.load:.1f} |"
            for row in rows
        ),
    ]
    (told.out / "one_billion.md").write_text("\n".join(lines) + "\n")
    held = [{**asdict(row), "at_least": AT_LEAST, "machine": measured} for row in rows]
    (told.out / "one_billion.json").write_text(json.dumps(held, indent=1) + "\n")
    missed = [
        f"{row.stage} {row.dtype}: {100 * row.share:.0f} % of the machine's rate, {100 * AT_LEAST:.0f} % asked for"
        for row in rows
        if row.share < AT_LEAST
    ]
    print("\n".join(missed), file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
