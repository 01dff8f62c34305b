"""What int8 and int4 cost and save: error of logits by family, bytes on disk and in memory, speed on this CPU.

    python benchmarks/quantised.py [errors] [accuracy] [bytes] [speed]

Names of sections measure these alone and leave the rest of the report as it is. Takes the goldens from FLAB_GOLDENS, as the
tests do. Speed is processor time of one thread, the least of several runs that take turns, of a decoder with random
weights; dynamic int8 (`torch.ao`) stands beside it.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import loading_memory
import machine
import torch
from apart import apart
from torch import Tensor, nn

import flamingo_lab as fl
from flamingo_lab import understanding
from flamingo_lab.config import Decoder
from flamingo_lab.nn.decoder import CausalDecoder
from flamingo_lab.nn.positions import Places
from flamingo_lab.quant import FORMS, is_quantised, reading  # noqa: F401 - its import is no part of a rise
from flamingo_lab.quant.copy import write
from flamingo_lab.quant.forms import quantise
from flamingo_lab.quant.linear import place

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.families.goldens import Golden, found  # noqa: E402 - the reader is the tests'
from tests.families.stages import compute  # noqa: E402
from tests.folders import GOLDENS  # noqa: E402

REPORT = Path(__file__).parent / "reports" / "quantised.md"
CPU = torch.device("cpu")
TIMES = 3
CASES = 2
"""Of a golden at most: what its prompts are like."""

QUESTIONS = 300

MADE = Decoder(vocab=256, width=2048, layers=1, heads=16, mlp_width=5504, positions=2048)
"""Layers as wide as those of a model of 1.3 billion parameters."""


def quantised(vlm: nn.Module, form: str) -> nn.Module:
    """A copy of a model with its matrices in a form, as loading makes them."""
    model = copy.deepcopy(vlm)
    for name, parameter in list(model.named_parameters()):
        if is_quantised(name, parameter):
            place(model, name, quantise(parameter.detach(), form), form, CPU)
    return model


# Errors


@dataclass
class Errors:
    """Of a form's logits, over all positions of a golden: squares of the differences, and equal first choices."""

    squares: float = 0.0
    same: int = 0


@torch.no_grad()
def errors(golden: Golden) -> str | None:
    """A golden's row, None for one without logits."""
    print(golden.folder.name, file=sys.stderr, flush=True)
    squares, positions, family = 0.0, 0, ""
    of_forms = {form: Errors() for form in FORMS}
    having = (case for case in golden.cases.values() if any(map(stage_of, case.rows)))
    for case in islice(having, CASES):
        model = golden.model(case)
        family = str(model.about["family"])
        others = {form: with_vlm(model, quantised(model.vlm, form)) for form in FORMS}
        for row in case.rows:
            stage = stage_of(row)
            if stage is None:
                continue
            whole = logits(stage, model, case, row)
            squares += float((whole - whole.mean(-1, keepdim=True)).square().sum())
            positions += len(whole)
            for form, held in of_forms.items():
                ours = logits(stage, others[form], case, row)
                difference = ours - whole
                held.squares += float((difference - difference.mean(-1, keepdim=True)).square().sum())
                held.same += int((ours.argmax(-1) == whole.argmax(-1)).sum())
    if not positions:
        return None
    told = " | ".join(f"{(one.squares / squares) ** 0.5:.2%} | {one.same / positions:.1%}" for one in of_forms.values())
    return f"| {golden.folder.name} | {family} | {positions} | {told} |"


def stage_of(row: Any) -> str | None:
    """The stage of a row that is logits."""
    return next((stage for stage in row.expect if stage.startswith("logits")), None)


def with_vlm(model: fl.LoadedModel, vlm: Any) -> fl.LoadedModel:
    return dataclasses.replace(model, vlm=vlm)


def logits(stage: str, model: fl.LoadedModel, case: Any, row: Any) -> Tensor:
    """Of a stage, a row a position."""
    held = torch.as_tensor(compute(stage, model, case, row)).double()
    return held.reshape(-1, held.shape[-1])


def accuracy(quant: str | None) -> str:
    """A row of flamingo-tiny, whose weights are trained: the share of right answers of its own task, 0..100."""
    command = [sys.executable, "-m", "flamingo_lab.cli", "eval", "--model", "flamingo-tiny", "--tasks", "easy-vqa"]
    command += ["--limit", str(QUESTIONS), "--device", "cpu", "--json", *(["--quant", quant] if quant else [])]
    with tempfile.TemporaryDirectory() as results:
        done = subprocess.run([*command, "--results", results], capture_output=True, text=True, check=True)
    score = json.loads(done.stdout.splitlines()[0])
    return (
        f"| {quant or 'as published'} | {100 * score['value']:.1f} | "
        f"{100 * score['low']:.1f} to {100 * score['high']:.1f} |"
    )


# Speed


@torch.inference_mode()
def speed() -> list[str]:
    """Rows: tokens together, by how the weights are held."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    plain = CausalDecoder(MADE)
    for parameter in plain.parameters():
        nn.init.normal_(parameter, 0.0, 0.02) if parameter.ndim == 2 else None
    plain.eval()
    holder = nn.Module()
    holder.decoder = plain
    with warnings.catch_warnings(action="ignore"):
        dynamic = torch.ao.quantization.quantize_dynamic(copy.deepcopy(plain), {nn.Linear}, dtype=torch.qint8)
    ways: Mapping[str, tuple[nn.Module, torch.dtype]] = {
        "float32": (plain, torch.float32),
        "bfloat16": (copy.deepcopy(plain).bfloat16(), torch.bfloat16),
        "int8, float32": (quantised(holder, "int8").decoder, torch.float32),
        "int8, bfloat16": (in_bfloat16(holder, "int8"), torch.bfloat16),
        "int4, float32": (quantised(holder, "int4").decoder, torch.float32),
        "int4, bfloat16": (in_bfloat16(holder, "int4"), torch.bfloat16),
        "dynamic int8, float32": (dynamic, torch.float32),
    }
    lines: list[str] = []
    for rows, tokens in ((1, 1), (4, 1), (16, 1), (1, 64)):
        x = torch.randn(rows, tokens, MADE.width)
        places = Places(torch.arange(tokens).expand(rows, tokens))
        seconds = least({name: partial(model, x.to(dtype), places) for name, (model, dtype) in ways.items()})
        base, other = seconds["float32"], seconds["bfloat16"]
        for name, taken in seconds.items():
            lines.append(
                f"| {rows} x {tokens} | {name} | {taken * 1e3:,.1f} | {base / taken:.2f} | {other / taken:.2f} |"
            )
    return lines


def in_bfloat16(holder: nn.Module, form: str) -> nn.Module:
    """A decoder in a form, all else in bfloat16."""
    return quantised(copy.deepcopy(holder).bfloat16(), form).decoder


def least(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of processor time of each, in turns."""
    found = dict.fromkeys(calls, float("inf"))
    for _ in range(TIMES):
        for name, call in calls.items():
            began = time.thread_time()
            call()
            found[name] = min(found[name], time.thread_time() - began)
    return found


# Bytes


def sizes() -> list[str]:
    """Rows: what a checkpoint takes on disk and in memory, as it is, quantised while it loads, and as a copy."""
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        published = Path(scratch) / "published"
        published.mkdir()
        loading_memory.write(published, "safetensors")
        found = understanding.understand(str(published))
        rows: list[tuple[str, Path, str | None]] = [("bfloat16", published, None)]
        for form in FORMS:
            rows.append((f"{form}, while it loads", published, form))
            rows.append((f"{form}, a copy", write(found, form, Path(scratch) / form).folder, None))
        for name, folder, quant in rows:
            answer = apart(loading_memory.load, str(folder), "bfloat16", quant)
            disk = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
            lines.append(
                f"| {name} | {disk / 1e6:,.0f} | {answer.parameters / 1e6:,.0f} | {answer.rise / 1e6:,.0f} | "
                f"{answer.seconds:.1f} |"
            )
    return lines


def of_errors() -> list[str]:
    """The section of the logits."""
    goldens = found(GOLDENS)
    if not goldens:
        raise SystemExit(f"no goldens under FLAB_GOLDENS ({GOLDENS})")
    return [
        "Logits of prompts of each golden, against our own in float32: the root of the mean square of the differences as a share",
        "of the logits' own spread, and how often the most likely token is the same. The goldens are small and random: their",
        "logits lie closer together than a trained model's, so a token changes more easily.",
        "",
        "| golden | family | positions | int8 error | same token | int4 error | same token |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        *filter(None, map(errors, goldens)),
    ]


def of_accuracy() -> list[str]:
    """The section of flamingo-tiny."""
    return [
        f"flamingo-tiny on {QUESTIONS} questions of easy-vqa, without shots.",
        "",
        "| weights | right, % | 95 % interval |",
        "| --- | ---: | ---: |",
        *(accuracy(quant) for quant in (None, *FORMS)),
    ]


def of_bytes() -> list[str]:
    """The section of disk and memory."""
    return [
        "A random IDEFICS checkpoint in bfloat16, of which gated blocks, resampler and embeddings stay as they are. MB of 10^6",
        "bytes. Memory: the weights, and the rise of resident memory at its highest while they load and are read once.",
        "",
        "| weights | on disk, MB | in memory, MB | rise at most, MB | seconds to load |",
        "| --- | ---: | ---: | ---: | ---: |",
        *sizes(),
    ]


def of_speed() -> list[str]:
    """The section of speed."""
    return [
        f"A decoder of width {MADE.width} (feed-forward {MADE.mlp_width}, layers: {MADE.layers}), random weights, one thread;",
        f"processor time, the least of {TIMES} runs in turns. Sequences x tokens that pass together. Dynamic int8 rounds what it",
        "multiplies with by one scale for all that pass together, and is here for comparison.",
        "",
        "| together | weights, computed in | ms | times float32 | times bfloat16 |",
        "| --- | --- | ---: | ---: | ---: |",
        *speed(),
    ]


SECTIONS: Mapping[str, Callable[[], list[str]]] = {
    "errors": of_errors,
    "accuracy": of_accuracy,
    "bytes": of_bytes,
    "speed": of_speed,
}


def main() -> None:
    """Write the report, or some of its sections."""
    parser = machine.options(__doc__)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], help="of the report, all by default")
    wanted = parser.parse_args().sections or list(SECTIONS)
    written = REPORT.read_text().split("\n## ")[1:] if REPORT.is_file() else []
    held = {text.splitlines()[0].lower(): text.partition("\n")[2].strip("\n") for text in written}
    for name in wanted:
        told = SECTIONS[name]()
        held[name] = "\n".join([f"`{machine.command()}` on {machine.facts()}.", "", *told])
        sections = [f"## {one.capitalize()}\n\n{held[one]}\n" for one in SECTIONS if one in held]
        REPORT.write_text("\n".join(["# Weights in one byte and in half of one\n", *sections]))
    print(REPORT.read_text())


if __name__ == "__main__":
    main()
