"""All that is asked of the engine and what was reached, one table from the other scripts' reports.

    python benchmarks/asked_for.py

Measures nothing; `make bench` runs it last. Writes `reports/asked_for.md`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import machine

REPORTS = Path(__file__).parent / "reports"


class Row(NamedTuple):
    """What is measured, against what, the figure reached and the one asked for, and where and when that was.

    floor: the share of our time that the arithmetic takes which cannot be avoided, None where what is reached is such a share.
    """

    workload: str
    against: str
    reached: float
    asked: float
    unit: str
    measured: str
    floor: float | None = None


def rows() -> Iterator[Row]:
    """Every row of the reports that are there."""
    for one in held("engine"):
        against = "each option by a whole pass" if one["name"].startswith("rank") else "transformers, its best batch"
        yield Row(one["title"], against, one["turns"]["ratio"], one["at_least"], "x", one["machine"], one["floor"])
    for one in held("cold_start"):
        against = "the faster of transformers and lm-eval"
        yield Row(one["title"], against, one["ratio"], one["at_least"], "x", one["machine"], one["floor"])
    for one in held("one_billion"):
        against = f"the machine's {one['machine_rate']:.0f} {one['unit']}"
        title = f"{one['stage']}, a billion parameters, {one['dtype']}"
        yield Row(title, against, 100 * one["share"], 100 * one["at_least"], "%", one["machine"])


def held(name: str) -> list[dict[str, Any]]:
    """A report's figures, none where it was not written yet."""
    file = REPORTS / f"{name}.json"
    return json.loads(file.read_text()) if file.is_file() else []


def report(found: list[Row]) -> str:
    """The table in Markdown."""
    machines = sorted({row.measured for row in found})
    lines = [
        "# What is asked of the engine",
        "",
        "*Floor*: the arithmetic that cannot be avoided, at the measured rate of a product, over our time.",
        "",
        "| workload | against | reached | asked for | | floor | machine |",
        "| --- | --- | ---: | ---: | --- | ---: | --- |",
    ]
    for row in found:
        floor = "–" if row.floor is None else f"{100 * row.floor:.0f} %"
        digits = 1 if row.unit == "x" else 0
        lines.append(
            f"| {row.workload} | {row.against} | {row.reached:.{digits}f} {row.unit} | {row.asked:g} {row.unit} "
            f"| {'' if row.reached >= row.asked else 'missed'} | {floor} | {machine.letter(machines.index(row.measured))} |"
        )
    lines += ["", *(f"{machine.letter(number)}: {one}." for number, one in enumerate(machines))]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = report([*rows()])
    (REPORTS / "asked_for.md").write_text(text)
    print(text)
