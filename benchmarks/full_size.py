"""The largest published layouts for real: every shard and tensor of idefics at its true shape, checked, loaded, asked.

    python benchmarks/full_size.py [--models idefics-9b,idefics-80b] [--memory 20] [--dtype bfloat16] [--scratch FOLDER]

The files are sparse: a disk holds their headers and the tensors that have values, the first of each kind of layer; all
else is a hole and reads as zeros. Layers of zeros add nothing, so the answer has to be that of a model which has only the
first layers, and whose files are written and asked too. Needs a file system with sparse files of that size (ext4, xfs).
Writes `reports/full_size.md` and removes the files. Not for CI: three passes over 160 GB.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
import rank_memory
import torch
from apart import apart
from PIL import Image

import flamingo_lab as fl
from flamingo_lab import hub
from flamingo_lab.engine.budget import GIB, START_BYTES, free_bytes
from flamingo_lab.families import idefics
from flamingo_lab.family import BUNDLED, Folder
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import published_name

RESIDENT_SHARE = 0.92
"""Of the free memory, what a model that is held in it may take; nothing else runs here."""

REPORT = Path(__file__).parent / "reports" / "full_size.md"

SHARD_BYTES = 10**10
"""At most in one shard, the default of transformers' `save_pretrained`, with which the 9B's sizes are the published ones."""

ORDER = ("embed_tokens", "vision_model", "perceiver_resampler", "model.layers", "gated_cross", "model.norm", "lm_head")
"""In which the parts of a model follow each other in its files, as in the authors' class."""

LATER = re.compile(r"\.[1-9]\d*\.")
"""What only names of layers behind the first have in them."""

VALUED_BYTES = 16 * 2**20
"""Of a tensor with values; what follows is a hole too."""

NEW_TOKENS = 2

CLOSE = 0.01
"""How far log-probabilities may be apart, since bfloat16 rounds sums in another order to other values."""


class Shard(NamedTuple):
    """A file with its tensors' shapes, in order."""

    name: str
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def nbytes(self) -> int:
        """Of its tensors."""
        return sum(map(nbytes, self.shapes.values()))


@dataclass(frozen=True)
class Asked:
    """What a model answered, in a process of its own, and what it took. bytes: of weights, read for passes."""

    how: str
    tokens: tuple[int, ...]
    logprob: float
    load_seconds: float
    answer_seconds: float
    peak: int
    bytes: float
    reading_seconds: float
    waited_seconds: float


def nbytes(shape: tuple[int, ...]) -> int:
    """In bfloat16."""
    return math.prod(shape) * torch.bfloat16.itemsize


def shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """All published tensors of a configuration, in the order of the files."""
    described = Folder(Path("described"), config=config)
    with torch.device("meta"):
        vlm = VLM(idefics.architecture(described))
    rules = [*idefics.rules(described, vlm.architecture).values()]
    held = {published_name(rules, name): tuple(parameter.shape) for name, parameter in vlm.named_parameters()}

    def place(name: str) -> tuple[int, list[int]]:
        part = next(number for number, part in enumerate(ORDER) if part in name)
        return part, [int(number) for number in re.findall(r"\d+", name)]

    return {name: held[name] for name in sorted(held, key=place)}


def shards(tensors: Mapping[str, tuple[int, ...]], most: int = SHARD_BYTES) -> list[Shard]:
    """The tensors cut into files, each as full as it may be."""
    parts: list[dict[str, tuple[int, ...]]] = [{}]
    for name, shape in tensors.items():
        if parts[-1] and sum(map(nbytes, parts[-1].values())) + nbytes(shape) > most:
            parts.append({})
        parts[-1][name] = shape
    return [Shard(f"model-{number:05}-of-{len(parts):05}.safetensors", part) for number, part in enumerate(parts, 1)]


def write(folder: Path, config: Mapping[str, Any], most: int = SHARD_BYTES) -> list[Shard]:
    """A complete checkpoint in sparse files."""
    folder.mkdir(parents=True, exist_ok=True)
    cut = shards(shapes(config), most)
    for shard in cut:
        write_shard(folder / shard.name, shard.shapes)
    where = {name: shard.name for shard in cut for name in shard.shapes}
    total = sum(shard.nbytes for shard in cut)
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps({**config, "torch_dtype": "bfloat16"}))
    tokenizer = BUNDLED / "flamingo-tiny" / "tokenizer.json"
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    return cut


def write_shard(file: Path, tensors: Mapping[str, tuple[int, ...]]) -> None:
    """A header, values where there are some, and holes for the rest."""
    ends: dict[str, int] = {}
    for name, shape in tensors.items():
        ends[name] = (max(ends.values()) if ends else 0) + nbytes(shape)
    told: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    for name, shape in tensors.items():
        told[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [ends[name] - nbytes(shape), ends[name]]}
    header = json.dumps(told).encode()
    header += b" " * (-len(header) % 8)
    behind = 8 + len(header)
    with file.open("wb") as stream:
        stream.write(struct.pack("<Q", len(header)) + header)
        for name, shape in tensors.items():
            if LATER.search(name) is None:
                stream.seek(behind + ends[name] - nbytes(shape))
                stream.write(values(name, shape))
        stream.truncate(behind + max(ends.values()))


def values(name: str, shape: tuple[int, ...]) -> bytes:
    """The first numbers of a tensor, which its name decides: about one in norms and gates, small elsewhere."""
    count = min(math.prod(shape), VALUED_BYTES // torch.bfloat16.itemsize)
    drawn = torch.randn(count, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    is_about_one = len(shape) == 1 and not name.endswith("bias")
    return (drawn * 0.02 + is_about_one).bfloat16().view(torch.uint8).numpy().tobytes()


def first_layers(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same with its first gated block and the layer behind it."""
    return {**config, "num_hidden_layers": 1, "cross_layer_interval": 1}


def question() -> fl.Request:
    """Two random pictures and few words."""
    noise = np.random.default_rng(0)
    first, second = (Image.fromarray(noise.integers(0, 256, (240, 320, 3), dtype=np.uint8)) for _ in range(2))
    prompt = fl.Prompt.raw(fl.Image(first), fl.Image(second), "a red")
    return fl.Request("question", prompt, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS)


def ask(folder: Path, dtype: str, memory: float | None) -> Asked:
    """Load, with the weights in their files where memory (GiB) is given; answer one question about two pictures."""
    began = time.perf_counter()
    room = RESIDENT_SHARE * free_bytes(torch.device("cpu")) / GIB if memory is None else memory
    model = fl.load(folder, dtype=dtype, device="cpu", offload=memory is not None, memory=room)
    assert isinstance(model, fl.LoadedModel)
    load_seconds = time.perf_counter() - began
    began = time.perf_counter()
    (answer,) = model.answers([question()])
    assert answer.error is None and answer.logprob is not None, answer.error
    counted = model.counters()
    return Asked(
        "in memory" if memory is None else f"--offload --memory {memory:g}",
        answer.token_ids,
        answer.logprob,
        load_seconds,
        time.perf_counter() - began,
        rank_memory.peak_bytes(),
        *(counted.get(f"weights_{name}", 0.0) for name in ("bytes", "reading_seconds", "waited_seconds")),
    )


def checked(folder: Path) -> tuple[dict[str, Any], float]:
    """What `flab check` says of the folder, and how long it took."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "flamingo_lab.cli", "check", str(folder), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout), time.perf_counter() - began


def fits(total: int, dtype: str) -> bool:
    """Whether a model of so many bytes in bfloat16 may be held in memory in this dtype now."""
    factor = getattr(torch, dtype).itemsize / torch.bfloat16.itemsize
    return factor * total + START_BYTES <= RESIDENT_SHARE * free_bytes(torch.device("cpu"))


def measured(name: str, scratch: Path, dtype: str, memory: float) -> Iterator[str]:
    """The report's lines of one model. Raises `SystemExit` where anything is not as it has to be."""
    listed = hub.listed(name)
    assert listed is not None
    folder, few = scratch / name, scratch / f"{name}-first"
    began = time.perf_counter()
    cut = write(folder, listed.config)
    total = sum(shard.nbytes for shard in cut)
    taken = sum(file.stat().st_blocks * 512 for file in folder.iterdir())
    print(f"{name}: written in {time.perf_counter() - began:.0f} s", flush=True)
    facts, check_seconds = checked(folder)
    if not facts["loads"] or facts["parameters"] != listed.parameters:
        raise SystemExit(f"flab check {name}: {facts}")
    print(f"{name}: checked in {check_seconds:.1f} s", flush=True)
    ways = [memory, *([None] if fits(total, dtype) else [])]
    found: list[Asked] = []
    for way in ways:
        found.append(apart(ask, folder, dtype, way))
        print(f"{name}: {found[-1]}", flush=True)
    shutil.rmtree(folder)
    small = sum(shard.nbytes for shard in write(few, first_layers(listed.config)))
    expected = apart(ask, few, dtype, None if fits(small, dtype) else memory)
    shutil.rmtree(few)
    apart_by = max(abs(one.logprob - expected.logprob) for one in found)
    wrong = [one for one in found if one.tokens != expected.tokens] or apart_by > CLOSE
    if wrong:
        raise SystemExit(f"{name}: {found} where the first layers alone answer {expected}")
    over = [one for one in found if one.how != "in memory" and one.peak > memory * GIB]
    if over:
        raise SystemExit(f"{name}: more than {memory:g} GiB: {over}")
    yield from (
        f"{facts['parameters']:,} parameters in {facts['tensors']:,} tensors and {len(cut)} shards of "
        f"{', '.join(f'{shard.nbytes / 1e9:.2f}' for shard in (cut[0], cut[-1]))} GB (the first and the last), "
        f"{total / 1e9:.1f} GB in all, of which the disk holds {taken / 1e6:.0f} MB. `flab check`: {check_seconds:.1f} s, loads. "
        f"Computed in {dtype}.",
        "",
        "| how | load s | answer s | peak GiB | weights read GB | GB/s while reading | waited for weights s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *map(row, found),
        "",
        f"Answer: tokens {', '.join(map(str, expected.tokens))}, log-probability {expected.logprob:.4f}: those of the "
        f"first layers alone ({expected.how}), whose log-probability differs by {apart_by:.1e}.",
        *(() if None in ways else ("", f"Not run in memory: {total / 1e9:.0f} GB are more than is free here.")),
    )


def row(one: Asked) -> str:
    """Of the table."""
    rate = f"{one.bytes / 1e9 / one.reading_seconds:.2f}" if one.reading_seconds else "–"
    read = f"{one.bytes / 1e9:.1f}" if one.bytes else "–"
    waited = f"{one.waited_seconds:.0f}" if one.bytes else "–"
    took = f"{one.load_seconds:.0f} | {one.answer_seconds:.0f} | {one.peak / GIB:.2f}"
    return f"| {one.how} | {took} | {read} | {rate} | {waited} |"


HEAD = f"""# Published layouts at full size

One question about two pictures, {NEW_TOKENS} new tokens, on the CPU; asked for are 20 GB of memory at most. The files are sparse:
what is read of holes are zeros made by the kernel, so no disk's rate shows here (see [offload.py](../offload.py)).
*Load* is mostly the digest of all files, a pass over them by itself. Peak: of resident memory, mapped files included.
How many shards the 80B was published in is not known here; they are cut at 10 GB, which gives the 9B's published sizes.
"""


def sections() -> dict[str, str]:
    """What the report has of each model."""
    if not REPORT.exists():
        return {}
    _, *parts = REPORT.read_text().split("\n## ")
    return {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in parts}


def main() -> None:
    """Write, check, load and ask each model; put it into the report, which keeps what it has of others."""
    parser = machine.options(__doc__)
    parser.add_argument("--models", default="idefics-9b,idefics-80b", help="listed names, with commas")
    parser.add_argument("--memory", type=float, default=20.0, help="GiB that a process may take with --offload")
    parser.add_argument("--dtype", default="bfloat16", help="in which is computed; the files are in bfloat16")
    parser.add_argument("--scratch", type=Path, help="where the files are written")
    told = parser.parse_args()
    for name in told.models.split(","):
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        run = f"`{machine.command()}` on {machine.facts()}; load before {load} on {os.cpu_count()} cores."
        with tempfile.TemporaryDirectory(dir=told.scratch) as scratch:
            lines = measured(name, Path(scratch), told.dtype, told.memory)
            held = sections() | {name: "\n".join([run, "", *lines])}
        text = "\n".join([HEAD, *(f"## {name}\n\n{held[name]}\n" for name in sorted(held))])
        REPORT.write_text(text)
        print(text, flush=True)


if __name__ == "__main__":
    main()
