"""Stages of guided searches, whoever answers: the golden's stub by formulas, or the tiny search model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.Image import Image as Picture

from flamingo_lab.search.guided import Ask, Outcome, Patch, Seen, Settings, Visit, search, split
from flamingo_lab.search.phrases import Parser, Token

Answer = Callable[[Ask], Seen]


def parser(parses: Mapping[str, Sequence[Sequence[Any]]]) -> Parser:
    """The stored parses in the place of spaCy's."""
    return lambda text: [Token(*row) for row in parses[text]]


@dataclass
class Searched:
    """A finished search with every question that it asked."""

    outcome: Outcome
    settings: Settings
    asked: list[Ask] = field(default_factory=list)


def searched(options: Mapping[str, Any], folder: Path, answer: Answer) -> Searched:
    """The search of a case, its questions answered by `answer`."""
    picture: Picture = Image.open(folder / options["image"]).convert("RGB")
    settings = Settings(**options["thresholds"])
    searching = search(picture, options["target"], settings, options["smallest_size"], parser(options["parses"]))
    asked: list[Ask] = []
    try:
        ask = next(searching)
        while True:
            asked.append(ask)
            ask = searching.send(answer(ask))
    except StopIteration as end:
        return Searched(end.value, settings, asked)


def _confidence(found: Searched) -> np.ndarray:
    """Each patch's best score; -1 for a detection that ended the search."""
    high = found.settings.confidence_high
    return np.array([-1.0 if visit.best > high else visit.best for visit in found.outcome.path])


def _last(outcome: Outcome) -> Visit:
    assert outcome.final is not None
    return outcome.path[outcome.final]


STAGES: dict[str, Callable[[Searched], Any]] = {
    "visit_order": lambda found: [list(visit.patch) for visit in found.outcome.path],
    "parent_index": lambda found: [-1 if visit.parent is None else visit.parent for visit in found.outcome.path],
    "scale_level": lambda found: [visit.level for visit in found.outcome.path],
    "calls": lambda found: [[ask.mode, list(ask.patch), ask.question] for ask in found.asked],
    "context_cue": lambda found: ["#".join(visit.cue) if visit.cue else None for visit in found.outcome.path],
    "score": lambda found: np.array([visit.score for visit in found.outcome.path[1:]] or [0.0]),
    "confidence": _confidence,
    "path_length": lambda found: found.outcome.path_length,
    "search_successful": lambda found: found.outcome.is_successful,
    "final_bbox": lambda found: list(_last(found.outcome).patch),
    "detection_result": lambda found: np.array(_last(found.outcome).box),
    "all_valid_boxes": lambda found: None if found.outcome.boxes is None else np.array(found.outcome.boxes),
    "first_heatmap": lambda found: found.outcome.path[0].heat[::4, ::4],
}
"""Stored stages of a search. A name that is not here is a failure."""


def splits(boxes: Sequence[Sequence[int]]) -> list[list[list[int]]]:
    """What each box is cut into."""
    return [[list(part) for part in split(Patch(*box))] for box in boxes]
