"""What each process of a split model takes in memory, and whether they answer as one: a random IDEFICS checkpoint of 1 GB.

    python benchmarks/tensor_parallel.py

The rise is taken over what a process has after the imports, as its highest value until a question with two pictures is
answered. Allowed: its slices, what it holds whole, and 300 MB.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import loading_memory
import machine
import numpy as np
import rank_memory
from apart import apart
from PIL import Image

import flamingo_lab as fl
from flamingo_lab.parallel.model import SplitModel

REPORT = Path(__file__).parent / "reports" / "tensor_parallel.md"
RANKS = (2, 4)
ALLOWED_MB = 300
NEW_TOKENS = 8

IMPORTS = "import flamingo_lab.parallel.reading, flamingo_lab.loading, rank_memory; print(rank_memory.peak_bytes())"


@dataclass(frozen=True)
class Loaded:
    """A model over so many processes. rows: what each of them takes, as the report has it; tokens and logprob: its answer."""

    ranks: int
    dtype: str
    load_seconds: float
    answer_seconds: float
    tokens: tuple[int, ...]
    logprob: float
    rows: list[str]
    over: list[str]


def imported_bytes() -> int:
    """What a process has in memory before it loads anything."""
    here = str(Path(__file__).parent)
    made = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {here!r}); {IMPORTS}"],
        capture_output=True,
        check=True,
        text=True,
    )
    return int(made.stdout)


def question() -> fl.Request:
    """Two random pictures and words around them."""
    noise = np.random.default_rng(0)
    pictures = [Image.fromarray(noise.integers(0, 256, (240, 320, 3), dtype=np.uint8)) for _ in range(2)]
    prompt = fl.Prompt.raw(fl.Image(pictures[0]), "A picture of noise.", fl.Image(pictures[1]), "A picture of")
    return fl.Request("question", prompt, max_new_tokens=NEW_TOKENS)


def run(folder: Path, ranks: int, dtype: str, before: int) -> Loaded:
    """Load, answer, and tell what it took."""
    began = time.perf_counter()
    model = fl.load(folder, dtype=dtype, device="cpu", tensor_parallel=ranks)
    load_seconds = time.perf_counter() - began
    began = time.perf_counter()
    (answer,) = model.answers([question()])
    assert answer.error is None, answer.error
    answer_seconds = time.perf_counter() - began
    rows: list[str] = []
    over: list[str] = []
    for rank, taken in enumerate(model.everywhere(rank_memory.measure) if isinstance(model, SplitModel) else ()):
        rise, allowed = taken.peak - before, taken.split + taken.whole + ALLOWED_MB * 1e6
        sizes = (taken.split, taken.whole, rise, allowed)
        rows.append(f"| {dtype} | {ranks} | {rank} | " + " | ".join(f"{size / 1e6:,.0f}" for size in sizes) + " |")
        if rise > allowed:
            over.append(rows[-1])
    assert answer.logprob is not None
    return Loaded(ranks, dtype, load_seconds, answer_seconds, answer.token_ids, answer.logprob, rows, over)


def main() -> None:
    """Load over one, two and four processes in either dtype, write the report, and fail where a rank takes too much."""
    machine.options(__doc__).parse_args()
    before = imported_bytes()
    found: list[Loaded] = []
    with tempfile.TemporaryDirectory() as scratch:
        loading_memory.write(Path(scratch), "safetensors")
        size = sum(file.stat().st_size for file in Path(scratch).glob("*.safetensors"))
        for dtype in ("bfloat16", "float32"):
            found += [apart(run, Path(scratch), ranks, dtype, before) for ranks in (1, *RANKS)]
    one = {loaded.dtype: loaded for loaded in found if loaded.ranks == 1}
    lines = [
        "# One model over several processes",
        "",
        f"`{machine.command()}` on {machine.facts()}.",
        "",
        f"A random IDEFICS checkpoint of {size / 1e6:,.0f} MB in bfloat16, kept in its dtype and converted. MB of 10^6 bytes.",
        f"Rise of a process's resident memory over the {before / 1e6:,.0f} MB that it has after the imports, at its highest",
        f"until a question with two pictures is answered. Allowed: its slices, what it holds whole, and {ALLOWED_MB} MB.",
        "Rank 0 alone has tower and resampler.",
        "",
        "| dtype | processes | rank | slices MB | whole MB | rise MB | allowed MB |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(row for loaded in found for row in loaded.rows),
        "",
        f"The same question, {NEW_TOKENS} tokens. More processes than cores only show that it works. In bfloat16 sums in",
        "another order round to other values.",
        "",
        "| dtype | processes | load s | answer s | same tokens as one | difference in log-probability |",
        "| --- | ---: | ---: | ---: | --- | ---: |",
        *(
            f"| {loaded.dtype} | {loaded.ranks} | {loaded.load_seconds:.1f} | {loaded.answer_seconds:.1f} | "
            f"{'yes' if loaded.tokens == one[loaded.dtype].tokens else 'no'} | "
            f"{abs(loaded.logprob - one[loaded.dtype].logprob):.1e} |"
            for loaded in found
        ),
        "",
    ]
    REPORT.write_text("\n".join(lines))
    print("\n".join(lines))
    over = [row for loaded in found for row in loaded.over]
    differing = [loaded for loaded in found if loaded.dtype == "float32" and loaded.tokens != one["float32"].tokens]
    if over or differing:
        raise SystemExit(f"more than allowed: {over}; other answers: {differing}")


if __name__ == "__main__":
    main()
