"""What the leaderboard's rows and columns stand for, and the scale of a column."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from leaderboards.records import ALL, SHARE, Run


@dataclass(frozen=True)
class Entrant:
    """What a row stands for: weights, their number format, and how they were asked.

    `wording` and `decoding` are empty where each task chose its own; `shots` is the way that they were chosen.
    """

    model: str
    digest: str
    dtype: str
    quantisation: str
    backend: str
    num_fewshot: int
    shots: str
    wording: str
    decoding: str
    options: str
    seed: int
    limit: int | None

    @property
    def protocol(self) -> str:
        """How the model was asked, in words."""
        said = [f"{self.num_fewshot} shots" if self.num_fewshot != 1 else "1 shot"]
        said += [self.shots] if self.shots not in ("", "random") else []
        said += [one for one in (self.wording, self.decoding, self.options) if one]
        said += [f"seed {self.seed}"] if self.seed else []
        said += [f"first {self.limit:,} questions"] if self.limit is not None else []
        return ", ".join(said)


@dataclass(frozen=True, order=True)
class Column:
    """One variant of one metric on one split of a task, on a slice."""

    task: str
    split: str
    metric: str
    variant: str
    slice: str = ALL

    @property
    def name(self) -> str:
        """METRIC/VARIANT."""
        return f"{self.metric}/{self.variant}"


def entrant(run: Run) -> Entrant:
    """The row that a run belongs to."""
    settings = run.settings
    return Entrant(
        model=run.model,
        digest=run.model_digest,
        dtype=run.dtype,
        quantisation=run.quantisation or "",
        backend=run.backend,
        num_fewshot=run.num_fewshot,
        shots=run.shot_selection if run.num_fewshot else "",
        wording=settings.get("wording") or "",
        decoding=settings.get("chosen_decoding") or "",
        options=" ".join(settings.get("options") or ()),
        seed=run.seed,
        limit=run.limit,
    )


def scale(column: Column, unit: str) -> tuple[float, float] | None:
    """What guessing gets in a column and the most there is; None for points of which that is not known."""
    known = _scales().get((column.task, column.metric)) or _scales().get((column.task, ""))
    return known or ((0.0, 1.0) if unit == SHARE else None)


@cache
def _scales() -> Mapping[tuple[str, str], tuple[float, float]]:
    with (Path(__file__).parent / "scales.csv").open(encoding="utf-8", newline="") as stream:
        return {
            (row["task"], row["metric"]): (float(row["floor"]), float(row["ceiling"])) for row in csv.DictReader(stream)
        }
