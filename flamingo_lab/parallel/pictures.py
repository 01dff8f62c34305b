"""Pictures' tokens where several ranks need them: rank 0 reads and encodes, the others are told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch

from flamingo_lab.engine.features import FeatureCache
from flamingo_lab.engine.images import Held, PictureStore
from flamingo_lab.engine.loop import is_want_of_memory
from flamingo_lab.engine.work import Work
from flamingo_lab.errors import BadImage
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.model import Request
from flamingo_lab.parallel.ranks import Ranks, Step
from flamingo_lab.prompt import Image


class Known(Image):
    """A picture that rank 0 has, and of which the others know digest and size, or why it cannot be read."""

    def __init__(self, image: Image) -> None:
        super().__init__(b"", name=image.name, is_object=image.is_object, is_long=image.is_long)
        self._told: tuple[str, tuple[int, int]] | str
        try:
            self._told = image.digest, image.size
        except BadImage as error:
            self._told = str(error)

    @property
    def digest(self) -> str:
        """See `Image`."""
        return self._known[0]

    @property
    def size(self) -> tuple[int, int]:
        """See `Image`."""
        return self._known[1]

    @property
    def _known(self) -> tuple[str, tuple[int, int]]:
        if isinstance(self._told, str):
            raise BadImage(self._told)
        return self._told


class Brought(NamedTuple):
    """What rank 0 did. bad: pictures that cannot be read, and why; new: those that it has since; gone: those it let go.

    failure: what went wrong, and whether it was for want of memory.
    """

    bad: Mapping[str, str]
    new: Sequence[str]
    gone: Sequence[str]
    failure: tuple[str, bool] | None = None


class SplitStore(PictureStore):
    """The same pictures on every rank. Only where tokens look at them do the others than rank 0 have their numbers."""

    def __init__(
        self,
        model: LoadedModel,
        work: Work,
        budget_bytes: int,
        cache: FeatureCache | None,
        views: int,
        ranks: Ranks,
    ) -> None:
        super().__init__(model, work, budget_bytes, cache, views)
        self._ranks = ranks
        self._are_looked_at = bool(model.vlm.join)
        self._told: set[str] = set()

    def shrink(self, budget_bytes: int, views: int) -> None:
        """See `PictureStore`; the others learn of it with the next pictures."""
        if self._ranks.leads:
            super().shrink(budget_bytes, views)

    def read_ahead(self, images: Iterable[Image]) -> None:
        """See `PictureStore`."""
        if self._ranks.leads:
            super().read_ahead(images)

    def bring(self, images: Iterable[Image], now: int = 0, kept: Collection[str] = ()) -> Mapping[str, BadImage]:
        """See `PictureStore`."""
        failure: Exception | None = None
        bad: Mapping[str, BadImage] = {}
        with self._ranks.step(Step.PICTURES):
            if self._ranks.leads:
                try:
                    bad = super().bring(images, now, kept)
                except Exception as error:  # the others have to know before the engine goes on with it
                    failure = error
            told = self._ranks.said(self._brought(bad, failure) if self._ranks.leads else None)
            self._take(told)
        if failure is not None:
            raise failure
        if told.failure is not None:
            text, is_memory = told.failure
            raise torch.OutOfMemoryError(f"rank 0: {text}") if is_memory else RuntimeError(f"rank 0: {text}")
        return {digest: BadImage(reason) for digest, reason in told.bad.items()}

    def _brought(self, bad: Mapping[str, BadImage], failure: Exception | None) -> Brought:
        held = set(self._held)
        told = Brought(
            {digest: str(reason) for digest, reason in bad.items()},
            [digest for digest in self._held if digest not in self._told],
            sorted(self._told - held),
            None if failure is None else (str(failure), is_want_of_memory(failure)),
        )
        self._told = held
        return told

    def _take(self, told: Brought) -> None:
        """Have on every rank what rank 0 has."""
        vlm, leads = self._model.vlm, self._ranks.leads
        if not leads:
            for digest in told.gone:
                del self._held[digest]
        if not self._are_looked_at:
            if not leads:
                self._held |= {digest: Held(torch.empty(0)) for digest in told.new}
            return
        shape = (vlm.architecture.tokens_per_view, vlm.architecture.picture_width)
        for digest in told.new:
            tokens = self._held[digest].tokens if leads else torch.empty(shape, device=vlm.device, dtype=vlm.dtype)
            self._ranks.spread(tokens)
            if not leads:
                self._held[digest] = Held(tokens)


def told(request: Request) -> Request:
    """The request as the other ranks get it: pictures are known, not sent."""
    from dataclasses import replace

    turns = tuple(
        replace(turn, parts=tuple(Known(part) if isinstance(part, Image) else part for part in turn.parts))
        for turn in request.prompt.turns
    )
    return replace(request, prompt=replace(request.prompt, turns=turns))
