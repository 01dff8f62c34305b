"""The published scores of real prediction files as questions to `flab score`.

Nothing here knows a single entry: another folder in the same form is checked without a change. What an entry's figures are
called is said by the words of its layout and metric (README beside ORACLES.json).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from eval_tasks import layouts, task
from eval_tasks.metrics import Item, MetricName, Outcome, pope
from eval_tasks.scoring import Marked, score_file
from leaderboards.records import ALL, SHARE, Score
from tests.folders import DATA

Oracle = Mapping[str, Any]

ENTRIES = DATA / "ORACLES.json"

METEOR = "METEOR"
TOLERANCE_METEOR = 1e-3
"""METEOR is a Java program that rounds by itself."""

DRAWN = "official-draw"

FIGURES = {"meaniou": "mean", "miou": "mean", "acc": "accuracy", "acc+": "accuracy_plus", "accplus": "accuracy_plus"}
"""Figures whose names are not ours, as `plain` leaves them; `+` says something."""


def entries() -> list[Any]:
    """Every entry as a case."""
    held = json.loads(ENTRIES.read_text(encoding="utf-8")) if ENTRIES.is_file() else []
    return [pytest.param(entry, id=entry["id"]) for entry in held]


def paths(named: str | None) -> list[Path]:
    """The files that an entry names: several joined by ` + `, `{a,b}` for several, `<Word>` for each folder."""
    found: list[Path] = []
    for one in (named or "").split(" + ") if named else []:
        for pattern in _spread(one.rstrip("/")):
            there = sorted(DATA.glob(re.sub("<[^>]*>", "*", pattern)))
            assert there, f"{pattern} names no file under {DATA}"
            found += there
    return found


def _spread(pattern: str) -> list[str]:
    match = re.search(r"\{([^}]*)\}", pattern)
    if match is None:
        return [pattern]
    return [
        whole
        for part in match[1].split(",")
        for whole in _spread(pattern[: match.start()] + part + pattern[match.end() :])
    ]


def scored(entry: Oracle, predictions: Sequence[Path] | None = None, variant: str | None = None) -> Marked:
    """The entry's files under its scorer, which its field `flab` alone chooses."""
    chosen = entry["flab"]
    name = MetricName(chosen["metric"], variant or chosen["variant"])
    files = tuple(predictions or paths(entry["predictions"]))
    return _scored(chosen["task"], name, files, tuple(paths(entry["annotations"])))


@cache
def _scored(name: str, metric: MetricName, files: tuple[Path, ...], annotations: tuple[Path, ...]) -> Marked:
    """The files as they lie there: an entry may be about a part of its benchmark."""
    return score_file(task.get(name), metric, files, annotations, allow_missing=True)


def items(entry: Oracle) -> Sequence[Item]:
    """The entry's questions with their answers."""
    chosen = task.get(entry["flab"]["task"])
    return layouts.read(chosen, paths(entry["predictions"]), paths(entry["annotations"]), allow_missing=True).items


def figures(entry: Oracle, block: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Each figure of a block of expectations: its name, what is expected, what was found."""
    for key, expected in block.items():
        if isinstance(expected, dict):
            for inner, value in expected.items():
                yield f"{key}.{inner}", value, _within(entry, key, inner)
        else:
            yield key, expected, Found(entry, scored(entry)).figure(key)


def _within(entry: Oracle, group: str, key: str) -> Any:
    """A figure of one category, or of one file of several gradings."""
    file = [path for path in paths(entry["predictions"]) if path.stem.endswith(group)]
    if file:
        return Found(entry, scored(entry, file)).figure(key)
    are_fractions = "fractions inside" in str(entry["unit"])
    found = scored(entry)
    labels = [one.slice for one in found.scores if plain(one.slice.rpartition("=")[2]) == plain(group)]
    assert labels, f"no slice is {group}: {sorted({one.slice for one in found.scores})}"
    return Found(entry, found, labels[0], False if are_fractions else None).figure(key)


class Found:
    """What was scored, by the names that an entry's figures have."""

    def __init__(self, entry: Oracle, marked: Marked, slice: str = ALL, in_percent: bool | None = None) -> None:
        self.entry = entry
        self.marked = marked
        self.slice = slice
        unit = str(entry["unit"])
        self.in_percent = unit.startswith(("percent", "%", "points of 100")) if in_percent is None else in_percent

    def figure(self, key: str) -> Any:
        """The figure of this name, in the entry's unit: one of the metric's, a slice's, a count; any other is the main one."""
        if (found := self._named(FIGURES.get(key.lower()) or FIGURES.get(plain(key), key))) is not None:
            return self.value(found)
        parts = {one.slice: one.slice.split("=") for one in self.marked.scores if self.slice == ALL}
        if label := [one for one, names in parts.items() if plain(key) in map(plain, names)]:
            return self.value(self.score("", label[0]))
        return SPECIAL[plain(key)](self) if plain(key) in SPECIAL else self.value(self.score(""))

    def value(self, score: Score) -> float:
        assert score.value is not None, f"{score.metric} {score.slice} is undefined"
        return score.value * (100 if self.in_percent and score.unit == SHARE else 1)

    def score(self, key: str = "", label: str | None = None) -> Score:
        """A figure of the metric, the main one by default, of a slice."""
        found = self._named(key, label)
        assert found is not None, f"no figure {key!r} of {label or self.slice}"
        return found

    def _named(self, key: str, label: str | None = None) -> Score | None:
        metric = self.entry["flab"]["metric"]
        name = plain(f"{metric}.{key}" if key else metric)
        found = [one for one in self.marked.scores if (plain(one.metric), one.slice) == (name, label or self.slice)]
        return found[0] if found else None

    def right(self, label: str = ALL) -> int:
        """How many answers, or groups of them, are right."""
        score = self.score("", label)
        return round((score.value or 0) * score.n)

    def counts(self) -> pope.Counts:
        """POPE's four counts of a category."""
        asked = items(self.entry)
        mine = [number for number, item in enumerate(asked) if f"category={item.slices['category']}" == self.slice]
        outcomes = [outcome for number in mine if isinstance(outcome := self.marked.outcomes[number], Outcome)]
        return pope.counts([asked[number] for number in mine], outcomes)


PICTURED, OPEN = "picture=yes", "kind=open"

OF_NO_METRIC: Mapping[str, Callable[[Found], Any]] = {
    "correct": lambda found: found.right(),
    "count": lambda found: found.score().n,
    "n": lambda found: found.score().n,
    "img_accuracy": lambda found: found.value(found.score("", PICTURED)),
    "img_correct": lambda found: found.right(PICTURED),
    "img_count": lambda found: found.score("", PICTURED).n,
    "fallbacks": lambda found: found.score().n_unparsed,
    "correct_without_fallback": lambda found: Found(found.entry, scored(found.entry, variant="official")).right(),
    "open_questions": lambda found: found.score("", OPEN).n,
    "open_correct": lambda found: found.right(OPEN),
    "runs": lambda found: [
        found.value(one) for one in found.marked.scores if one.metric == "grades" and one.slice.startswith("grading=")
    ],
    "ious": lambda found: [outcome.read.iou for outcome in found.marked.outcomes if outcome is not None],
    **{name: lambda found, name=name: getattr(found.counts(), name) for name in pope.Counts._fields},
}
"""Figures that are counts, lists, or of a part that the name does not say."""


def plain(name: str) -> str:
    """A name's letters and digits: `BLEU-4` and `Bleu_4` are one figure."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


SPECIAL = {plain(name): figure for name, figure in OF_NO_METRIC.items()}


def digits(value: float | Sequence[float]) -> float:
    """Half of the last digit shown, and what float sums in another order may differ by; of a list the finest."""
    if isinstance(value, list):
        return min(map(digits, value))
    shown = re.fullmatch(r"-?\d*\.?(\d*)(?:e(-?\d+))?", repr(value))
    assert shown is not None, value
    places = len(shown[1]) - int(shown[2] or 0)
    return max(0.5 * 10.0**-places, 1e-12 * abs(value))
