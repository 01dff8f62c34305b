"""How much resident memory loading takes: a random IDEFICS checkpoint of 1 GB, kept in its dtype and converted.

    python benchmarks/loading_memory.py

The rise is taken over the value after the imports, as the process's highest value while the model loads and is used once.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import machine
import psutil
import torch
from apart import apart
from safetensors.torch import save_file

from flamingo_lab import loading
from flamingo_lab.families import idefics
from flamingo_lab.family import BUNDLED, Folder
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import published_name

REPORT = Path(__file__).parent / "reports" / "loading_memory.md"
CONFIG = idefics.FAMILY.sizes[0].config | {
    "hidden_size": 1536,
    "intermediate_size": 4096,
    "num_hidden_layers": 10,
    "num_attention_heads": 12,
    "cross_layer_interval": 5,
    "vision_config": {"embed_dim": 640, "num_hidden_layers": 16, "intermediate_size": 2560},
    "perceiver_config": {"qk_layer_norms_perceiver": True},
}
LISTED = Folder(Path("random"), config=CONFIG)
SHARDS = 4
ALLOWED_MB = 300


@dataclass(frozen=True)
class Load:
    """A load, in bytes and seconds. rise: of resident memory over its value before."""

    parameters: int
    rise: int
    seconds: float


@dataclass(frozen=True)
class Measured:
    """A load in a process of its own."""

    form: str
    dtype: str
    seconds: float
    model_mb: float
    rise_mb: float
    allowed_mb: float


def write(folder: Path, form: str) -> None:
    """A checkpoint of random bfloat16 weights in `SHARDS` shards."""
    with torch.device("meta"):
        vlm = VLM(idefics.architecture(LISTED))
    rules = [*idefics.rules(LISTED, vlm.architecture).values()]
    shapes = {published_name(rules, name): parameter.shape for name, parameter in vlm.named_parameters()}
    names = sorted(shapes)
    index: dict[str, str] = {}
    for shard in range(SHARDS):
        ending = "safetensors" if form == "safetensors" else "bin"
        file = f"{'model' if form == 'safetensors' else 'pytorch_model'}-{shard + 1:05}-of-{SHARDS:05}.{ending}"
        held = {name: torch.randn(shapes[name], dtype=torch.bfloat16) * 0.02 for name in names[shard::SHARDS]}
        save_file(held, folder / file) if form == "safetensors" else torch.save(held, folder / file)
        index |= dict.fromkeys(held, file)
    name = "model.safetensors.index.json" if form == "safetensors" else "pytorch_model.bin.index.json"
    (folder / name).write_text(json.dumps({"weight_map": index}))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    tokenizer = BUNDLED / "flamingo-tiny" / "tokenizer.json"
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())


def load(folder: str, dtype: str, quant: str | None = None) -> Load:
    """Load in this process, and touch every weight once."""
    process = psutil.Process()
    before = process.memory_info().rss
    highest = [before]
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.002):
            highest.append(max(highest.pop(), process.memory_info().rss))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    began = time.perf_counter()
    model = loading.load(folder, dtype=dtype, quant=quant)
    seconds = time.perf_counter() - began
    for parameter in model.vlm.parameters():
        if not parameter.is_mkldnn:  # packed while it was read, so touched already
            parameter.data.sum()
    is_over.set()
    watcher.join()
    return Load(sum(parameter.nbytes for parameter in model.vlm.parameters()), max(highest) - before, seconds)


def measure(folder: str, form: str, dtype: str) -> Measured:
    """A load in a process of its own against what is allowed."""
    one = apart(load, folder, dtype)
    shard = max(file.stat().st_size for file in Path(folder).iterdir()) if dtype == "float32" else 0
    allowed = (one.parameters + shard) / 1e6 + ALLOWED_MB
    return Measured(form, dtype, one.seconds, one.parameters / 1e6, one.rise / 1e6, allowed)


def main() -> None:
    """Measure every form and dtype, write the report, and fail where a rise is more than is allowed."""
    machine.options(__doc__).parse_args()
    found: list[Measured] = []
    for form in ("safetensors", "bin"):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), form)
            found += [measure(folder, form, dtype) for dtype in ("bfloat16", "float32")]
    rows = [
        f"| {one.form} | {one.dtype} | {one.model_mb:,.0f} | {one.rise_mb:,.0f} | {one.allowed_mb:,.0f} | "
        f"{one.rise_mb / one.model_mb:.2f} | {one.seconds:.1f} |"
        for one in found
    ]
    lines = [
        "# Memory that loading takes",
        "",
        f"`{machine.command()}` on {machine.facts()}.",
        "",
        f"A random IDEFICS checkpoint in {SHARDS} bfloat16 shards. MB of 10^6 bytes; rise of resident memory over its value",
        "after the imports, at its highest while the model is loaded and every weight is read once. Allowed: the model's",
        f"bytes + {ALLOWED_MB} MB, plus one shard where it converts.",
        "",
        "| form | dtype | model MB | rise MB | allowed MB | rise / model | seconds |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        *rows,
        "",
    ]
    REPORT.write_text("\n".join(lines))
    print("\n".join(lines))
    over = [one for one in found if one.rise_mb > one.allowed_mb]
    if over:
        raise SystemExit(f"more than allowed: {over}")


if __name__ == "__main__":
    main()
