"""What the authors reported beside what was measured here, with everything in which the two are known to differ."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from leaderboards import published
from leaderboards.published import Published
from leaderboards.records import ALL, SHARE, Run, Score, score_of

UNSTATED = ("", "not stated")
TEXT_ONLY = "0 = two text-only shots"
"""How papers of the Flamingo line say that their zero-shot prompts hold two answered examples without pictures."""


@dataclass(frozen=True)
class Reported:
    """A published score with a run's. `reported` and `difference` (measured minus reported) are as published, mostly percent.

    `is_inside`: the reported score lies in the measured one's 95 % interval, None without an interval. `differences` are
    those of the two protocols, a line each; wordings are not compared by rule: read `published.protocol`.
    """

    run_id: str
    metric: str
    slice: str
    reported: float
    measured: float
    difference: float
    is_inside: bool | None
    differences: Sequence[str]
    published: Published


class Printed(NamedTuple):
    """What a metric's printed name stands for in some papers: ours, its variant where it is known, and the slice."""

    papers: Sequence[str]
    task: str
    printed: str
    metric: str
    variant: str
    slice: str


def beside(run: Run) -> list[Reported]:
    """The published scores of a run's model on its task that have the fewest known differences.

    With the run's number of shots, if there are such.
    """
    rows = [one for one in published.of(run.model) if one.task == run.task]
    like = [one for one in rows if one.shots == str(run.num_fewshot)]
    found = [joined for one in like or rows if (joined := _joined(run, one)) is not None]
    fewest = min((len(one.differences) for one in found), default=0)
    return [one for one in found if len(one.differences) == fewest]


def _joined(run: Run, row: Published) -> Reported | None:
    meant = _meant(row)
    score, notes = _measured(run, row, meant)
    if score is None or score.value is None:
        return None
    factor = 100 if score.unit == SHARE else 1
    measured = factor * score.value
    is_inside = None
    if score.low is not None and score.high is not None:
        is_inside = factor * score.low <= row.score <= factor * score.high
    return Reported(
        run_id=run.run_id,
        metric=f"{score.metric}/{score.variant}",
        slice=score.slice,
        reported=row.score,
        measured=measured,
        difference=measured - row.score,
        is_inside=is_inside,
        differences=[*notes, *_protocol(run, row)],
        published=row,
    )


def _meant(row: Published) -> Printed | None:
    """What the row's metric is here: its own paper's line first, then what holds for every paper."""
    lines = [one for one in _printed() if (one.task, one.printed) == (row.task, row.metric)]
    own = [one for one in lines if row.paper in one.papers]
    return next(iter([*own, *(one for one in lines if not one.papers)]), None)


def _measured(run: Run, row: Published, meant: Printed | None) -> tuple[Score | None, list[str]]:
    """The run's score that is nearest to what the row means, and what still differs."""
    if meant is None:
        head = next(iter(run.scores), None)
        return head, [f"metric: {row.metric} reported, {head.metric}/{head.variant} measured"] if head else []
    exact = score_of(run, f"{meant.metric}/{meant.variant}", meant.slice)
    if exact is not None:
        return exact, []
    near = [one for one in run.scores if one.metric == meant.metric and one.slice == meant.slice]
    whole = [one for one in run.scores if one.slice == ALL]
    found = next(iter([*near, *whole]), None)
    if found is None:
        return None, []
    if found.metric != meant.metric or found.slice != meant.slice:
        return found, [f"metric: {row.metric} reported, {found.metric}/{found.variant} measured"]
    said = f"variant {meant.variant}" if meant.variant else "variant not stated"
    return found, [f"metric: {said} reported, {found.variant} measured"]


def _protocol(run: Run, row: Published) -> list[str]:
    """Differences of shots, split, number of questions and decoding, as far as the row states them."""
    notes: list[str] = []
    if row.shots not in (str(run.num_fewshot), ""):
        notes.append(f"shots: {row.shots} reported, {run.num_fewshot} measured")
    elif row.shots == "0" and TEXT_ONLY in row.protocol:
        notes.append("shots: 0 reported with two examples in text alone, none measured")
    if row.split in UNSTATED:
        notes.append(f"split: not stated, {run.split} measured")
    elif not _is_same_split(row.split, run.split):
        notes.append(f"split: {row.split} reported, {run.split} measured")
    if run.limit is not None:
        notes.append(f"questions: all reported, the first {run.n:,} measured")
    if "greedy" in row.protocol and not run.decoding.startswith("greedy"):
        notes.append(f"decoding: greedy reported, {run.decoding} measured")
    if "3 beams" in row.protocol and not run.decoding.startswith(("beam(beams=3", "rank")):
        notes.append(f"decoding: 3 beams reported, {run.decoding} measured")
    if "RICES" in row.protocol and run.num_fewshot and "rices" not in run.shot_selection.lower():
        notes.append(f"choice of shots: RICES reported, {run.shot_selection} measured")
    if not row.is_checked:
        notes.append("the reported score is told from memory")
    return notes


def _is_same_split(reported: str, measured: str) -> bool:
    """Whether two names mean one split: test_seen and test seen; Karpathy test is what the captions' test is here."""
    plain = [
        "".join(letter for letter in name.lower() if letter.isalnum()).removeprefix("karpathy").removesuffix("balanced")
        for name in (reported, measured)
    ]
    return plain[0] == plain[1] or {*plain} == {"val", "validation"}


@cache
def _printed() -> Sequence[Printed]:
    with (Path(__file__).parent / "printed_metrics.csv").open(encoding="utf-8", newline="") as stream:
        return [Printed(tuple(row.pop("papers").split()), **row) for row in csv.DictReader(stream)]
