"""What real models' files of answers score here, beside what was printed for them or computed by their authors' code.

    python benchmarks/oracles.py

Takes the files from FLAB_DATA, as the tests do. Captions need Java and pycocoevalcap.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import machine

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.folders import DATA  # noqa: E402
from tests.tasks import oracles  # noqa: E402 - the reader of the expectations stands with the tests

REPORT = Path(__file__).parent / "reports" / "oracles.md"


def rows(entry: dict[str, Any]) -> Iterator[str]:
    """A line for each of an entry's figures, whole lists left out."""
    chosen, computed = entry["flab"], dict(_flat(entry.get("computed", {})))
    figures = [one for one in oracles.figures(entry, entry["expected"]) if not isinstance(one[1], list)]
    for place, (key, expected, found) in enumerate(figures):
        tolerance = oracles.TOLERANCE_METEOR if key == oracles.METEOR else entry["tolerance"]
        verdict = "equal" if abs(found - expected) <= tolerance * (1 + 1e-9) else "DIFFERS"
        scorer = f"{chosen['metric']}/{chosen['variant']}"
        exact = computed.get(key, "")
        yield (
            f"| {entry['id'] if place == 0 else ''} | {scorer if place == 0 else ''} | {key} | {entry['kind']} "
            f"{_shown(expected)} | {_shown(exact)} | {_shown(found)} | {verdict} |"
        )


def _flat(block: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in block.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key, value


def _shown(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Write the report, and fail where a figure is another one."""
    machine.options(__doc__).parse_args()
    entries = [one.values[0] for one in oracles.entries()]
    if not entries:
        raise SystemExit(f"no ORACLES.json under FLAB_DATA ({DATA})")
    lines = [line for entry in entries for line in rows(entry)]
    files = len({str(path) for entry in entries for path in oracles.paths(entry["predictions"])})
    text = [
        "# Files of real answers",
        "",
        f"`{machine.command()}` on {machine.facts()}.",
        "",
        f"{len(entries)} scores of {files} files. A figure is equal within the tolerance of its entry, which is half of the",
        "last digit printed, or 1e-6 for what was computed. METEOR, a program that rounds by itself, has 1e-3.",
        "",
        "| file | scored by | figure | expected | computed by the authors' code | ours | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *lines,
        "",
    ]
    REPORT.write_text("\n".join(text))
    print("\n".join(text))
    if wrong := [line for line in lines if "DIFFERS" in line]:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
