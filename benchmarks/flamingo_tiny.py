"""How well trained flamingo-tiny folders answer, one folder a seed, and what pictures and shots do for them.

    python benchmarks/flamingo_tiny.py seed-0/flamingo-tiny seed-1/flamingo-tiny seed-2/flamingo-tiny

Without folders the bundled model is measured. Each figure is a `flab eval` in a process of its own: its seconds are what a
user waits, start-up included. Writes `flamingo_tiny.json`, `flamingo_tiny.md` and the plot `flamingo_tiny_shots.png`, and
fails where the bundled seed, or the median one where none of them is bundled, misses what is asked of it.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import machine
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leaderboards import table
from leaderboards.records import Run, Score
from leaderboards.store import Store

REPORTS = Path(__file__).parent / "reports"
SHIPPED = Path(__file__).parent.parent / "flamingo_lab" / "bundled" / "flamingo-tiny"
NAME = "flamingo-tiny"
CHANCE = 0.5
"""Guessing between an episode's two words."""


class Condition(NamedTuple):
    """What is asked, and the accuracy and seconds that are asked for."""

    task: str
    shots: int
    flag: str | None = None
    least: float = 0.0
    most: float = 1.0
    seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.task}, {self.shots} shots" + (f", {self.flag}" if self.flag else "")

    @property
    def bounds(self) -> str:
        """The accuracy asked for, in percent."""
        if (self.least, self.most) == (0.0, 1.0):
            return "–"
        if self.most == 1.0:
            return f"≥ {100 * self.least:g}"
        return f"≤ {100 * self.most:g}" if self.least == 0.0 else f"{100 * self.least:g} to {100 * self.most:g}"


EASY_VQA = (
    Condition("easy-vqa", 0, least=0.995, seconds=30),
    Condition("easy-vqa", 4, least=0.995),
    Condition("easy-vqa", 8, least=0.995, seconds=90),
)
"""Their mean accuracy decides which seed is the median."""

BINDING = (
    Condition("shapes-binding", 0, most=0.02),
    Condition("shapes-binding", 1),
    Condition("shapes-binding", 2),
    Condition("shapes-binding", 4, least=0.9),
    Condition("shapes-binding", 8),
)
SHUFFLED = Condition("shapes-binding", 4, "shuffle-pictures", least=0.4, most=0.6)
CONDITIONS = (*EASY_VQA, Condition("easy-vqa", 0, "other-pictures", most=0.65), *BINDING, SHUFFLED)


@dataclass(frozen=True)
class Measured:
    """One condition's run of one seed; `seconds` are those of the whole process, `load` the machine's before it."""

    seed: str
    condition: Condition
    run: Run
    seconds: float
    load: float

    @property
    def score(self) -> Score:
        """The official metric on all questions."""
        return self.run.scores[0]

    @property
    def value(self) -> float:
        """The accuracy, 0..1."""
        return self.score.value or 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Its 95 % interval."""
        return self.score.low or 0.0, self.score.high or 0.0

    @property
    def misses(self) -> bool:
        """Whether it falls short of what is asked for."""
        wanted = self.condition
        is_late = wanted.seconds is not None and self.seconds > wanted.seconds
        return is_late or not wanted.least <= self.value <= wanted.most or self.run.n_errors > 0

    def to_json(self) -> dict[str, object]:
        """The record that the report keeps."""
        official = [
            asdict(s) for s in self.run.scores if (s.metric, s.variant) == (self.score.metric, self.score.variant)
        ]
        return {
            "seed": self.seed,
            "model_digest": self.run.model_digest,
            **self.condition._asdict(),
            "scores": official,
            "n": self.run.n,
            "n_errors": self.run.n_errors,
            "process_seconds": self.seconds,
            "run_seconds": self.run.seconds,
            "questions_per_second": self.run.questions_per_second,
            "prompt_tokens": self.run.prompt_tokens,
            "peak_memory": self.run.peak_memory,
            "load_before": self.load,
        }


def measure(folder: Path, seed: str, condition: Condition, limit: int | None) -> Measured:
    """Evaluate a folder in a process of its own."""
    command = [sys.executable, "-m", "flamingo_lab.cli", "eval", "--model", str(folder), "--tasks", condition.task]
    command += ["--num-fewshot", str(condition.shots), "--device", "cpu", "--json"]
    command += ["--task-option", condition.flag] if condition.flag else []
    command += ["--limit", str(limit)] if limit else []
    with tempfile.TemporaryDirectory() as results:
        load, began = os.getloadavg()[0], time.perf_counter()
        code = subprocess.run([*command, "--results", results], stdout=subprocess.DEVNULL).returncode
        seconds = time.perf_counter() - began
        if code:
            raise SystemExit(f"{folder}, {condition}: flab eval ended with {code}")
        (run,) = Store(Path(results)).runs()
    return Measured(seed, condition, run, seconds, load)


def label(folder: Path) -> str:
    """What a seed's folder is called: `flab train` puts the model into OUT/flamingo-tiny, so OUT tells seeds apart."""
    folder = folder.resolve()
    return folder.parent.name if folder.name == NAME else folder.name


def median(found: Sequence[Measured]) -> str:
    """The seed whose mean accuracy on easy-VQA is the median one, the lower of two."""
    seeds = dict.fromkeys(one.seed for one in found)

    def mean(seed: str) -> float:
        values = [one.value for one in found if one.seed == seed and one.condition in EASY_VQA]
        return sum(values) / len(values)

    return sorted(seeds, key=mean)[(len(seeds) - 1) // 2]


def bundled(named: Mapping[str, Path]) -> str | None:
    """The seed whose weights are those that ship, if it is among them."""
    shipped = (SHIPPED / "model.safetensors").read_bytes()
    return next(
        (seed for seed, folder in named.items() if (folder / "model.safetensors").read_bytes() == shipped), None
    )


def draw(found: Sequence[Measured], chosen: str, file: Path) -> None:
    """Accuracy on shapes-binding over the number of shots, with 95 % intervals."""
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.axhline(100 * CHANCE, color="0.6", linewidth=1, linestyle="--")
    axes.text(8, 100 * CHANCE - 1, "guessing between the two words", color="0.4", ha="right", va="top", fontsize=9)
    others = dict.fromkeys(one.seed for one in found if one.seed != chosen)
    for marker, seed in zip(itertools.cycle("^vD"), others, strict=False):
        curve = [one for one in found if one.seed == seed and one.condition in BINDING]
        bars(axes, curve, seed, fmt=f"{marker}-", color="#9bb8d8", linewidth=1.2)
    curve = [one for one in found if one.seed == chosen and one.condition in BINDING]
    bars(axes, curve, chosen, fmt="o-", color="#1f5fa8", linewidth=2.0)
    shuffled = [one for one in found if one.seed == chosen and one.condition == SHUFFLED]
    bars(axes, shuffled, f"{chosen}, pictures of the shots shuffled", fmt="s", color="#c2452d", linewidth=2.0)
    axes.set_xticks([condition.shots for condition in BINDING])
    axes.set_xlabel("shots (worked examples before the question)")
    axes.set_ylabel("accuracy, %")
    axes.set_ylim(-3, 103)
    axes.set_title(f"shapes-binding: naming with two new words, n = {found[-1].run.n:,}", fontsize=11)
    axes.legend(loc="center right", fontsize=9, frameon=False, bbox_to_anchor=(1.0, 0.3))
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150, metadata={"Software": None})


def bars(axes: Axes, found: Sequence[Measured], name: str, **style: Any) -> None:
    """Points with the intervals around them."""
    below = [100 * (one.value - one.interval[0]) for one in found]
    above = [100 * (one.interval[1] - one.value) for one in found]
    shots, values = [one.condition.shots for one in found], [100 * one.value for one in found]
    axes.errorbar(shots, values, yerr=[below, above], capsize=3, markersize=4, label=name, **style)


def percent(one: Measured) -> str:
    """An accuracy with its interval."""
    return table.shown(one.score, 2 if one.value > 0.98 else 1)


def report(found: Sequence[Measured], chosen: str, limit: int | None) -> str:
    """The report in Markdown."""
    seeds = list(dict.fromkeys(one.seed for one in found))
    cells = {(one.seed, one.condition): one for one in found}
    versions = ", ".join(f"{name} {version}" for name, version in found[0].run.versions.items())
    loads = [one.load for one in found]
    lines = [
        "# flamingo-tiny: what it answers, and what pictures and shots do",
        "",
        f"`{machine.command()}` on {machine.facts()}; load before a run {min(loads):.1f} to {max(loads):.1f}. {versions}. "
        f"{datetime.now(UTC):%Y-%m-%d}.",
        "",
        *([f"**Only the first {limit} questions of each split: no figures to quote.**", ""] if limit else []),
        "Accuracy in percent with its 95 % interval (Wilson; on easy-VQA over the design effect of its pictures), greedy,",
        "exact match, random shots of the training split on easy-VQA, an episode's own on shapes-binding.",
        f"The median seed by the mean of the easy-VQA accuracies at 0, 4 and 8 shots is **{median(found)}**; looked at below,",
        f"and bundled where any of these is, is **{chosen}**.",
        "",
        f"| task | shots | flag | asked for | {' | '.join(seeds)} |",
        f"| --- | ---: | --- | ---: |{' ---: |' * len(seeds)}",
    ]
    for condition in CONDITIONS:
        values = " | ".join(percent(cells[seed, condition]) for seed in seeds)
        row = f"| {condition.task} | {condition.shots} | {condition.flag or ''} | {condition.bounds} | {values} |"
        lines.append(row)
    lines += [
        "",
        f"## {chosen} in time",
        "",
        "Seconds of the whole process, start-up included, and of the run inside it; questions a second of the run.",
        "",
        "| task | shots | flag | n | errors | process s | asked for | run s | questions/s |",
        "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for condition in CONDITIONS:
        one = cells[chosen, condition]
        wanted = f"≤ {condition.seconds:g}" if condition.seconds else "–"
        lines.append(
            f"| {condition.task} | {condition.shots} | {condition.flag or ''} | {one.run.n:,} | {one.run.n_errors} | "
            f"{one.seconds:.1f} | {wanted} | {one.run.seconds:.1f} | {one.run.questions_per_second or 0:,.0f} |"
        )
    lines += [
        "",
        "## What shots teach",
        "",
        "![Accuracy on shapes-binding over the number of shots](flamingo_tiny_shots.png)",
        "",
        "One shot tells one of the two words, so that about half of the questions can be answered; from two on, both are",
        "told. The square: the same four shots with their pictures dealt anew among the words.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure every folder under every condition, and write the reports."""
    parser = machine.options(__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=[SHIPPED], help="folders of finished models")
    parser.add_argument("--limit", type=int, help="only the first so many questions, to try the command out")
    parser.add_argument("--reports", type=Path, default=REPORTS, help="folder of the reports")
    given = parser.parse_args()
    named = {label(folder): folder for folder in given.folders}
    if len(named) < len(given.folders):
        raise SystemExit(f"two of the folders have the same name: {', '.join(map(label, given.folders))}")
    found: list[Measured] = []
    for seed, folder in named.items():
        for condition in CONDITIONS:
            found.append(measure(folder, seed, condition, given.limit))
            print(f"{seed}: {condition}: {percent(found[-1])}", file=sys.stderr)
    chosen = bundled(named) or median(found)
    text = report(found, chosen, given.limit)
    given.reports.mkdir(parents=True, exist_ok=True)
    held = {
        "command": machine.command(),
        "machine": machine.facts(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": found[0].run.versions,
        "limit": given.limit,
        "median_seed": median(found),
        "looked_at": chosen,
        "runs": [one.to_json() for one in found],
    }
    (given.reports / "flamingo_tiny.json").write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n")
    (given.reports / "flamingo_tiny.md").write_text(text)
    draw(found, chosen, given.reports / "flamingo_tiny_shots.png")
    print(text)
    missed = [
        f"{one.condition}: {percent(one)} in {one.seconds:.0f} s" for one in found if one.misses and one.seed == chosen
    ]
    if missed:
        raise SystemExit(f"{chosen} misses what is asked for: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
