"""Which worked examples stand before a question: seeded, the same on any machine, and never leaking the answer.

A selection is a file of this folder, found by being here. It only says in which order the examples of a pool come; those
that would give an answer away are left out here, for every selection alike.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from random import Random  # not the module, whose name is that of a selection here

from eval_tasks import looking
from eval_tasks.errors import TooFewShots, UnknownTask
from eval_tasks.nearest import near
from eval_tasks.task import Sample, Task
from eval_tasks.wording import Wording
from flamingo_lab.model import Model
from flamingo_lab.prompt import Shot

Usable = Callable[[int], bool]
"""Whether the example of this number may stand before the question."""

Order = Callable[[Sample, Usable], Iterable[int]]
"""The examples for a question by their numbers, the best first; what is not usable may be among them."""

Looked = Callable[[str, int, int], None]
"""Called while a run is made ready: what is counted, how many are done, of how many."""

LOOKED_AT = "pictures looked at"


@dataclass(frozen=True)
class Pool:
    """What a selection chooses from, for whom, and what for: the samples of a split, a model and all questions.

    `asked` are the questions, `whole` all of their split, whatever `--limit` leaves of them. `features` is a folder for
    what is found out about pictures, None where nothing is kept.
    """

    samples: Sequence[Sample]
    task: str
    shots: int
    seed: int
    model: Model
    asked: Sequence[Sample] = ()
    features: Path | None = None
    looked: Looked = lambda what, done, total: None
    whole: Sequence[Sample] = ()


@dataclass(frozen=True)
class Selection:
    """One way to choose. `shots`: how many there are where none are asked for; `check` raises where a package is missing.

    Without `shows_pictures` the examples are words alone. With `best_is_last` the first one of the order stands next to
    the question. `fits_own`: whether examples that a benchmark itself brings may take the place of chosen ones. `has_looked`:
    whether making the order has looked at every picture.
    """

    title: str
    order: Callable[[Pool], Order]
    shots: int = 0
    shows_pictures: bool = True
    best_is_last: bool = False
    fits_own: bool = True
    has_looked: bool = False
    check: Callable[[], None] = lambda: None


def names() -> list[str]:
    """The names of all selections."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def get(name: str) -> Selection:
    """The selection of this name. Raises `UnknownTask` with the nearest names."""
    if name not in names():
        found = near(name, names())
        hint = f"; did you mean {' or '.join(found)}?" if found else ""
        raise UnknownTask(f"shot selection {name!r} is none of {', '.join(names())}{hint}")
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}").SELECTION


def picked(selection: Selection, order: Order, pool: Pool, sample: Sample, *, asks_once: bool = False) -> list[Sample]:
    """The examples of the pool for one sample, none from its own picture or document; `asks_once`: see `Task`.

    Raises `TooFewShots` where the pool has not enough.
    """
    digests = {image.digest for image in sample.images}

    @cache
    def is_usable(number: int) -> bool:
        return not _leaks(pool.samples[number], sample, digests, asks_once)

    usable = (pool.samples[number] for number in order(sample, is_usable) if is_usable(number))
    chosen = list(islice(usable, pool.shots))
    if len(chosen) < pool.shots:
        raise TooFewShots(
            f"{pool.task}: {pool.shots} shots asked for, but only {len(chosen)} of the {len(pool.samples)} examples share "
            f"no picture or document with {sample.id}; ask for fewer"
        )
    return chosen[::-1] if selection.best_is_last else chosen


def drawn(key: str, count: int) -> Iterator[int]:
    """All numbers below `count`, each once, in an order that `key` decides; cheap where only the first few are used."""
    drawing = Random(key)
    moved: dict[int, int] = {}
    for place in range(count):
        other = drawing.randrange(place, count)
        yield moved.get(other, other)
        moved[other] = moved.get(place, place)


def of_question(pool: Pool, sample: Sample) -> str:
    """What random choices for one question come from."""
    return f"{pool.seed}/{pool.task}/{sample.id}"


class Shots:
    """A task's worked examples; the pool is read when the first sample asks for one.

    `read` gives the samples of the split that they come from; `pool` is what is chosen from, without them.
    """

    def __init__(self, task: Task, selection: Selection, pool: Pool, read: Callable[[], Sequence[Sample]]) -> None:
        self._task = task
        self._selection = selection
        self._pool = pool
        self._read = read
        self._order: Order | None = None
        self._shown: dict[int, tuple[Sample, Shot]] = {}

    def of(self, sample: Sample, data: Path | None, options: frozenset[str]) -> Sequence[Sample]:
        """The sample's worked examples."""
        pool, selection = self._pool, self._selection
        if not pool.shots:
            return ()
        chosen = self._task.shots_for(sample, pool.shots, pool.seed, data, options)
        if chosen is not None and not selection.fits_own:
            raise UnknownTask(f"{pool.task} brings its own examples; leave --shot-selection away")
        if chosen is None:
            if self._order is None:
                self._pool = pool = replace(pool, samples=self._read())
                self._order = selection.order(pool)
                if not selection.has_looked:
                    self._look_ahead(self._order, pool)
            chosen = picked(selection, self._order, pool, sample, asks_once=self._task.asks_once)
        return chosen if selection.shows_pictures else [without_pictures(shot) for shot in chosen]

    def shown(self, shot: Sample, wording: Wording) -> Shot:
        """A chosen sample as a worked example, the same object for every question that it stands before."""
        if id(shot) not in self._shown:
            self._shown[id(shot)] = shot, shot.shot(wording)  # the sample is kept, so that no other has its id
        return self._shown[id(shot)][1]

    def _look_ahead(self, order: Order, pool: Pool) -> None:
        """Look at the pictures of what is likely to be chosen, in the pool's order.

        Rows of a large data set lie in groups that are read as a whole: one question after the other would read a group for
        each example, this reads each group once. A picture is remembered by its digest.
        """
        likely: set[int] = set()
        for sample in pool.asked:
            usable = partial(self._is_likely, pool, sample)
            likely.update(islice((number for number in order(sample, usable) if usable(number)), pool.shots))
        for done, _ in enumerate(looking.ahead(pool.samples[number] for number in sorted(likely)), start=1):
            pool.looked(LOOKED_AT, done, len(likely))

    def _is_likely(self, pool: Pool, sample: Sample, number: int) -> bool:
        return not _leaks_by_name(pool.samples[number], sample, self._task.asks_once)


def without_pictures(sample: Sample) -> Sample:
    """The sample in words alone; the marks of its pictures leave its words too."""

    def bare(words: str) -> str:
        for mark in sample.marks:
            words = words.replace(mark, "")
        return words

    choices = tuple(map(bare, sample.choices))
    return replace(sample, images=(), marks=(), question=bare(sample.question), choices=choices)


def _leaks(candidate: Sample, sample: Sample, digests: set[str], asks_once: bool) -> bool:
    return _leaks_by_name(candidate, sample, asks_once) or any(image.digest in digests for image in candidate.images)


def _leaks_by_name(candidate: Sample, sample: Sample, asks_once: bool) -> bool:
    """What is known without looking at a picture."""
    return (
        candidate.id == sample.id
        or candidate.document == sample.document
        or (asks_once and _plain(candidate.question) == _plain(sample.question))
    )


def _plain(question: str) -> str:
    return " ".join(question.lower().split())
