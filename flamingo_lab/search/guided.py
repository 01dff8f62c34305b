"""The guided search of V* (arXiv 2312.14135, section 3.3): look at the whole, then at the likeliest part first.

A search is a generator: it yields what it asks of the search model and is sent what that saw, so that many searches can
ask together. After penghao-wu/vstar, visual_search.py. Needs no torch.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

from flamingo_lab.search.focus import Box
from flamingo_lab.search.phrases import Parser, cue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

LOCATE = "Please locate the {} in this image."
WHERE = (
    "According to the common sense knowledge and possible visual cues, "
    "what is the most likely location of the {} in the image?"
)
VALID = 0.5
"""Score above which a box of the whole picture is an instance; a constant of the authors', whatever the thresholds."""

LONG = 2
"""A patch so many times as long as wide is cut along its length only."""


@dataclass(frozen=True)
class Settings:
    """When a search believes, and when it stops.

    A box scored above `confidence_high` ends it; at its end the best box counts as found from `confidence_low` on. A heat
    map's peak above the cue threshold, which decays from level to level down to a minimum, is followed as it stands. Patches
    are not cut below `minimum_size` pixels, nor below the picture's shorter side over `minimum_size_scale`.
    """

    confidence_high: float = 0.5
    confidence_low: float = 0.3
    target_cue_threshold: float = 6.0
    target_cue_threshold_decay: float = 0.7
    target_cue_threshold_minimum: float = 3.0
    minimum_size: int = 224
    minimum_size_scale: float = 4.0

    def smallest(self, size: tuple[int, int]) -> int:
        """Patches of a picture of this size whose shorter side has so many pixels, or fewer, are not cut."""
        return max(math.ceil(min(size) / self.minimum_size_scale), self.minimum_size)

    def cue_threshold(self, level: int) -> float:
        """What a heat map's peak has to pass at a level; the whole picture is level 1."""
        decayed = self.target_cue_threshold * self.target_cue_threshold_decay ** (level - 1)
        return max(self.target_cue_threshold_minimum, decayed)


class Patch(NamedTuple):
    """A part of a picture in whole pixels."""

    x: int
    y: int
    width: int
    height: int


class Ask(NamedTuple):
    """A question about a part of a picture: where something is, as boxes or as a heat map alone, or an answer in words."""

    mode: Literal["detection", "segmentation", "vqa"]
    picture: Picture
    patch: Patch
    question: str


class Seen(NamedTuple):
    """What the search model answers, in words, and what it sees.

    boxes (N, 4) in 0..1 of the patch, centre and size, with their scores (N,); heat (height, width) of the patch, 0 or more.
    """

    text: str
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    heat: NDArray[np.float32]


@dataclass(eq=False)
class Visit:
    """A patch in a search. `parent` is its place in the path; `best` and `box`: its best score and box, in its own pixels.

    `cue`: what was answered about likely places, and the phrase that was looked for; `heat` (height, width) in 0..1.
    """

    patch: Patch
    level: int = 1
    score: float = 0.0
    parent: int | None = None
    best: float = 0.0
    box: Box | None = None
    heat: NDArray[np.float32] | None = None
    cue: tuple[str, str] | None = None

    def __lt__(self, other: Visit) -> bool:
        """The heap's order, by score alone: which of equals comes first is the heap's affair (golden seal_search, ties)."""
        return self.score > other.score


@dataclass(frozen=True)
class Outcome:
    """A search's end. `final` is the place in the path of the patch that holds `box`, None where nothing was ever seen.

    `boxes`: all instances, where the target was found on the whole picture at once.
    """

    path: Sequence[Visit]
    final: int | None
    is_successful: bool
    boxes: Sequence[Box] | None = None

    @property
    def path_length(self) -> int:
        """Patches looked at until the one that is taken."""
        return len(self.path) if self.final is None else self.final + 1

    @property
    def places(self) -> list[Box]:
        """Where the target is, in pixels of the whole picture: every instance, or the best box."""
        if self.boxes is not None:
            return list(self.boxes)
        box = None if self.final is None else self.path[self.final].box
        if self.final is None or box is None:
            return []
        patch = self.path[self.final].patch
        return [box._replace(x=box.x + patch.x, y=box.y + patch.y)]


Search = Generator[Ask, Seen, Outcome]


def search(picture: Picture, target: str, settings: Settings, smallest: int, parse: Parser) -> Search:
    """Search a picture for a target; patches whose shorter side is `smallest` pixels or less are not cut."""
    path: list[Visit] = []
    queue = [Visit(Patch(0, 0, *picture.size))]
    while queue:
        visit = heapq.heappop(queue)
        path.append(visit)
        seen = yield Ask("detection", picture, visit.patch, LOCATE.format(target))
        boxes = in_pixels(seen, visit.patch)
        if boxes:
            best = int(seen.scores.argmax())
            visit.best, visit.box = float(seen.scores[best]), boxes[best]
        if visit.best > settings.confidence_high:
            valid = [box for box, score in zip(boxes, seen.scores, strict=True) if score > VALID]
            return Outcome(path, len(path) - 1, True, valid if len(path) == 1 else None)
        if min(visit.patch.width, visit.patch.height) <= smallest:
            continue
        yield from _follow(picture, target, visit, seen.heat, settings, parse)
        for part in split(visit.patch):
            score = sum(_share(ancestor, part) / 4**ancestor.level for ancestor in _line(path, len(path) - 1))
            heapq.heappush(queue, Visit(part, visit.level + 1, score, len(path) - 1))
    final = max(range(len(path)), key=lambda number: path[number].best)
    if path[final].best <= 0:
        return Outcome(path, None, False)
    return Outcome(path, final, path[final].best >= settings.confidence_low)


def _follow(
    picture: Picture, target: str, visit: Visit, heat: NDArray[np.float32], settings: Settings, parse: Parser
) -> Generator[Ask, Seen, None]:
    """Find the heat that guides the search below a patch: the target's own, or that of its likely surroundings."""
    if heat.max() <= settings.cue_threshold(visit.level):
        told = yield Ask("vqa", picture, visit.patch, WHERE.format(target))
        phrase = cue(told.text, target, parse)
        visit.cue = told.text, phrase
        seen = yield Ask("segmentation", picture, visit.patch, LOCATE.format(phrase))
        heat = seen.heat
    visit.heat = spread(heat)


def in_pixels(seen: Seen, patch: Patch) -> list[Box]:
    """The boxes in a patch's own pixels, in float32 as the authors compute them."""
    import numpy as np

    scaled = seen.boxes * np.array([patch.width, patch.height] * 2, np.float32)
    scaled[:, :2] -= scaled[:, 2:] / 2
    return [Box(*map(float, box)) for box in scaled]


def spread(heat: NDArray[np.float32]) -> NDArray[np.float32]:
    """A heat map from 0 to 1; zeros where it is the same everywhere."""
    low, high = heat.min(), heat.max()
    return (heat - low) / (high - low) if high > low else heat * 0


def split(patch: Patch) -> list[Patch]:
    """Four parts, row by row: two by two, or four in a line. What does not divide goes to the last column and row."""
    if patch.height / patch.width >= LONG:
        columns, rows = 1, 4
    elif patch.height / patch.width <= 1 / LONG:
        columns, rows = 4, 1
    else:
        columns, rows = 2, 2
    xs = [column * (patch.width // columns) for column in range(columns)] + [patch.width]
    ys = [row * (patch.height // rows) for row in range(rows)] + [patch.height]
    return [
        Patch(patch.x + left, patch.y + top, right - left, bottom - top)
        for top, bottom in pairwise(ys)
        for left, right in pairwise(xs)
    ]


def _line(path: Sequence[Visit], number: int | None) -> Generator[Visit]:
    """A visit, its parent, its parent's parent, ..."""
    while number is not None:
        yield path[number]
        number = path[number].parent


def _share(ancestor: Visit, part: Patch) -> float:
    """The share of an ancestor's heat that lies in a part of it."""
    heat = ancestor.heat
    assert heat is not None
    top, left = part.y - ancestor.patch.y, part.x - ancestor.patch.x
    total = heat.sum(dtype=float)
    inside = heat[top : top + part.height, left : left + part.width].sum(dtype=float)
    return float(inside / total) if total > 0 else 0.0
