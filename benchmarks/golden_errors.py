"""How far each family is from its authors' code: the largest difference over all stored stages of each golden.

    python benchmarks/golden_errors.py

Takes the goldens from FLAB_GOLDENS, as the tests do. Where much of the tolerance is used, the logits are computed in float64
too: what a golden is away from these is the rounding of the authors' own run.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import torch

import flamingo_lab as fl

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.families.goldens import OF_RUNS, Case, Golden, Row, apart, found  # noqa: E402 - the reader is the tests'
from tests.families.stages import compute  # noqa: E402
from tests.folders import GOLDENS  # noqa: E402

REPORT = Path(__file__).parent / "reports" / "golden_errors.md"

MUCH = 0.3
"""Share of the tolerance from which on rounding is looked into."""


@dataclass(frozen=True)
class Worst:
    """A golden's largest difference, and the stage that has it; of its logits in float64 where that was looked into."""

    name: str
    family: str
    stages: int
    difference: float
    stage: str
    tolerance: float
    in_float64: float | None = None

    @property
    def share(self) -> float:
        """Of the tolerance."""
        return self.difference / self.tolerance

    @property
    def line(self) -> str:
        """Of the table."""
        return (
            f"| {self.name} | {self.family} | {self.stages} | {self.difference:.1e} | {self.stage} | "
            f"{self.tolerance:.0e} | {self.share:.0%} |"
        )


def stages(golden: Golden) -> Iterator[tuple[Case, Row, str, Any]]:
    """Every stored stage with its expectation, answers left out: the tests compare these token by token."""
    for case in golden.cases.values():
        for row in case.rows:
            for stage, expected in row.expect.items():
                run, _, field = stage.rpartition(".")
                if not (field in OF_RUNS and run in case.runs):
                    yield case, row, stage, expected


@torch.no_grad()
def difference(model: fl.LoadedModel, case: Case, row: Row, stage: str, expected: Any) -> float:
    """Of one stage."""
    return apart(compute(stage, model, case, row), expected)


def worst(golden: Golden) -> Worst:
    """Over every stage of every case."""
    largest, where, count, family = 0.0, "-", 0, ""
    for case, row, stage, expected in stages(golden):
        model = golden.model(case)
        family = str(model.about["family"])
        count += 1
        found = difference(model, case, row, stage, expected)
        if found > largest:
            number = f".{case.rows.index(row)}" if len(case.rows) > 1 else ""
            largest, where = found, f"{case.name}/{stage}{number}"
    result = Worst(golden.folder.name, family, count, largest, where, golden.tolerance)
    return dataclasses.replace(result, in_float64=in_float64(golden)) if result.share > MUCH else result


def in_float64(golden: Golden) -> float:
    """The largest difference of logits that are computed in float64."""
    return max(
        difference(wide(golden.model(case)), case, row, stage, expected)
        for case, row, stage, expected in stages(golden)
        if stage.startswith("logits")
    )


def wide(model: fl.LoadedModel) -> fl.LoadedModel:
    """The model in float64."""
    return dataclasses.replace(model, vlm=copy.deepcopy(model.vlm).double())


def main() -> None:
    """Write the report."""
    machine.options(__doc__).parse_args()
    goldens = found(GOLDENS, "model")
    if not goldens:
        raise SystemExit(f"no goldens under FLAB_GOLDENS ({GOLDENS})")
    rows = [worst(golden) for golden in goldens]
    lines = [
        "# How far each family is from its authors' code",
        "",
        f"`{machine.command()}` on {machine.facts()}.",
        "",
        "float32 on the CPU. The largest absolute difference over all stored stages (pixels, features, embeddings, logits, ...);",
        "ids, tokens, orders and texts are equal.",
        "",
        "| golden | family | stages | largest difference | where | tolerance | of it |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: |",
        *(one.line for one in rows),
        "",
        *(
            f"{one.name}: in float64 our logits are {one.in_float64:.1e} from the stored ones, which is the rounding of the "
            "authors' own run; in float32 both round alike."
            for one in rows
            if one.in_float64 is not None
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
