"""What a split feed-forward branch costs a process: its own modules with an all-reduce, against torch's DTensor plan.

    python benchmarks/dtensor.py

Processor time of the thread that computes, not of the clock: on one machine the processes wait for each other.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from contextlib import AbstractContextManager
from pathlib import Path

import machine
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from flamingo_lab.nn import linear
from flamingo_lab.nn.mlp import MLP

REPORT = Path(__file__).parent / "reports" / "dtensor.md"
WIDTH, INNER, RANKS = 256, 512, 2
TOKENS = (1, 64)
REPEATS, ROUNDS, WARMUP = 100, 5, 20


def branch(inner: int) -> nn.Module:
    return MLP(WIDTH, inner, "gelu", has_bias=False)


def ours() -> nn.Module:
    """As in `flamingo_lab/parallel/split.py`: a slice of each matrix, and a sum behind the branch."""

    def add_up(module: nn.Module, given: object, out: Tensor) -> Tensor:
        dist.all_reduce(out)
        return out

    module = branch(INNER // RANKS)
    module.register_forward_hook(add_up)
    return module


def theirs() -> nn.Module:
    plan = {"up": ColwiseParallel(), "down": RowwiseParallel()}
    return parallelize_module(branch(INNER), init_device_mesh("cpu", (RANKS,)), plan)


def microseconds(module: nn.Module, tokens: int, mode: AbstractContextManager[object]) -> list[float]:
    """Processor time of one pass, round by round."""
    x = torch.randn(1, tokens, WIDTH)
    found: list[float] = []
    with mode:
        for _ in range(WARMUP):
            module(x)
        for _ in range(ROUNDS):
            dist.barrier()
            began = time.thread_time()
            for _ in range(REPEATS):
                module(x)
            found.append((time.thread_time() - began) / REPEATS * 1e6)
    return found


def measure(rank: int, meeting: str, out: str) -> None:
    """One process of two; rank 0 writes its table."""
    linear.is_onednn_ahead = lambda: False  # DTensor has no rule for oneDNN's product
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=RANKS)
    rows: list[str] = []
    kinds = {"whole, one process": branch(INNER), "slices and an all-reduce": ours(), "DTensor": theirs()}
    for mode in (torch.inference_mode, torch.no_grad):
        for tokens in TOKENS:
            for name, module in kinds.items():
                found = microseconds(module, tokens, mode())
                spread = f"{min(found):.0f} to {max(found):.0f}"
                rows.append(f"| {mode.__name__} | {tokens} | {name} | {statistics.median(found):.0f} | {spread} |")
    if rank == 0:
        Path(out).write_text("\n".join(rows))
    dist.destroy_process_group()


def main() -> None:
    """Start both processes, and write the report."""
    machine.options(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        processes.spawn(measure, (f"{scratch}/meeting", f"{scratch}/rows"), RANKS)
        rows = Path(f"{scratch}/rows").read_text()
    lines = [
        "# A split branch, by hand and by DTensor",
        "",
        f"`{machine.command()}` on {machine.facts()}.",
        "",
        f"A feed-forward branch of width {WIDTH} with {INNER} inner channels over {RANKS} processes (gloo). Microseconds of",
        f"processor time that a pass takes of rank 0's own thread: median and spread of {ROUNDS} rounds of {REPEATS} passes.",
        "",
        "| mode | tokens | how | us | spread |",
        "| --- | ---: | --- | ---: | ---: |",
        rows,
        "",
    ]
    REPORT.write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
