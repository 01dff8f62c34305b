"""How far each family is from its authors' code: the largest difference over all stored stages of each golden.

    python benchmarks/golden_errors.py

Takes the goldens from FLAB_GOLDENS, as the tests do.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import machine
import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.families.goldens import OF_RUNS, Golden, found  # noqa: E402 - the format's reader stands with the tests
from tests.families.stages import compute  # noqa: E402
from tests.folders import GOLDENS  # noqa: E402

REPORT = Path(__file__).parent / "reports" / "golden_errors.md"


@dataclass(frozen=True)
class Worst:
    """A golden's largest difference, and the stage that has it."""

    name: str
    family: str
    stages: int
    difference: float
    stage: str
    tolerance: float


def worst(golden: Golden) -> Worst:
    """Over every float stage of every case."""
    largest, where, count, family = 0.0, "-", 0, ""
    for case in golden.cases.values():
        model = golden.model(case)
        family = str(model.about["family"])
        for number, row in enumerate(case.rows):
            for stage, expected in row.expect.items():
                run, _, field = stage.rpartition(".")
                is_float = isinstance(expected, np.ndarray) and np.issubdtype(expected.dtype, np.floating)
                if not is_float or (field in OF_RUNS and run in case.runs):
                    continue
                with torch.no_grad():
                    computed = np.asarray(compute(stage, model, case, row)).reshape(expected.shape)
                count += 1
                difference = float(np.abs(computed - expected).max()) if expected.size else 0.0
                if difference > largest:
                    largest, where = difference, f"{case.name}/{stage}" + (f".{number}" if len(case.rows) > 1 else "")
    return Worst(golden.folder.name, family, count, largest, where, golden.tolerance)


def main() -> None:
    """Write the report."""
    goldens = found(GOLDENS)
    if not goldens:
        raise SystemExit(f"no goldens under FLAB_GOLDENS ({GOLDENS})")
    rows = [worst(golden) for golden in goldens]
    lines = [
        "# How far each family is from its authors' code",
        "",
        f"`{machine.command()}` on {machine.facts()}.",
        "",
        "float32 on the CPU. The largest absolute difference over all stored float stages (pixels, features, embeddings,",
        "logits, ...); ids, tokens, orders and texts are equal.",
        "",
        "| golden | family | float stages | largest difference | where | tolerance |",
        "| --- | --- | ---: | ---: | --- | ---: |",
        *(
            f"| {one.name} | {one.family} | {one.stages} | {one.difference:.1e} | {one.stage} | {one.tolerance:.0e} |"
            for one in rows
        ),
        "",
    ]
    REPORT.write_text("\n".join(lines))
    print("\n".join(lines))
    over = [one for one in rows if one.difference > one.tolerance]
    if over:
        raise SystemExit(f"over the tolerance: {over}")


if __name__ == "__main__":
    main()
