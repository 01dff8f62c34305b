"""What the leaderboard's rows and columns stand for, and the scale of a column."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from leaderboards.records import ALL, SHARE, Run

if TYPE_CHECKING:
    from leaderboards.table import Row


PLAIN = re.compile(r"\d+ shots?")
"""A protocol of which there is nothing to tell but the shots."""


def shots_said(count: int, selection: str) -> str:
    """How many shots, and how they were selected where that is worth a word."""
    number = f"{count} shots" if count != 1 else "1 shot"
    return f"{number}, {selection}" if count and selection not in ("", "random") else number


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
        said = [shots_said(self.num_fewshot, self.shots)]
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
    bounds = {"at least": settings.get("min_new_tokens"), "at most": settings.get("max_new_tokens")}
    lengths = [f"{bound} {count:,} new tokens" for bound, count in bounds.items() if count]
    return Entrant(
        model=run.model,
        digest=run.model_digest,
        dtype=run.dtype,
        quantisation=run.quantisation or "",
        backend=run.backend,
        num_fewshot=run.num_fewshot,
        shots=run.shot_selection if run.num_fewshot else "",
        wording=settings.get("wording") or "",
        decoding=", ".join(filter(None, (settings.get("chosen_decoding"), *lengths))),
        options=" ".join(settings.get("options") or ()),
        seed=run.seed,
        limit=run.limit,
    )


class Model(NamedTuple):
    """A model that was run: its name, the digest of all that can change its answers, and its number format."""

    name: str
    digest: str
    dtype: str
    quantisation: str


def model(one: Run | Row | Entrant) -> Model:
    """The model of a run, or of what stands for some."""
    digest = one.digest if isinstance(one, Entrant) else one.model_digest
    return Model(one.model, digest, one.dtype, one.quantisation or "")


def labels(models: Iterable[Model]) -> dict[Model, str]:
    """What models are called beside each other, in tables and on pages: by their names.

    Those that share one get in brackets their number format, if it has several, and the start of their digest, where that
    format has several.
    """
    every = dict.fromkeys(models)
    formats = Counter(name for name, _, _ in {(one.name, one.dtype, one.quantisation) for one in every})
    digests = Counter((one.name, one.dtype, one.quantisation) for one in every)
    found: dict[Model, str] = {}
    for one in every:
        parts = [one.dtype, one.quantisation] if formats[one.name] > 1 else []
        parts += [one.digest[:6]] if digests[one.name, one.dtype, one.quantisation] > 1 else []
        told = ", ".join(filter(None, parts))
        found[one] = f"{one.name} ({told})" if told else one.name
    return found


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
