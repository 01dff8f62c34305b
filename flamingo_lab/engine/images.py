"""Each distinct picture is read, prepared and encoded once a run, while its tokens fit the budget."""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flamingo_lab.engine.budget import VIEWS, picture_bytes
from flamingo_lab.engine.features import FeatureCache
from flamingo_lab.engine.work import Work
from flamingo_lab.errors import BadImage
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.nn.attention import Heads
from flamingo_lab.prompt import THREADS, Image

AHEAD = 2
"""Pictures that are read before they are needed, for each view that passes the tower at once."""

NEVER = 1 << 60
"""When a picture is needed next that nobody waits for."""


class Views(NamedTuple):
    """A picture's digest, its views as the model takes them (see `VLM.encode`), and its size (width, height)."""

    digest: str
    pixels: NDArray[np.float32]
    size: tuple[int, int]


@dataclass
class Held:
    """A picture's tokens (L, D), and for cross-attention its keys and values (1, H, L, d) of each gated block."""

    tokens: Tensor
    heads: Sequence[Heads] = ()

    @property
    def nbytes(self) -> int:
        return self.tokens.nbytes + sum(part.nbytes for heads in self.heads for part in heads)


class PictureStore:
    """Pictures' tokens by digest. Who needs which picture when is known beforehand: the one needed last leaves first."""

    def __init__(
        self,
        model: LoadedModel,
        work: Work,
        budget_bytes: int,
        cache: FeatureCache | None = None,
        views: int = VIEWS,
    ) -> None:
        self._model = model
        self._work = work
        self._budget = budget_bytes
        self._views = views
        self._ahead = AHEAD * views
        self._cache = cache
        self._held: dict[str, Held] = {}
        self._uses: defaultdict[str, deque[int]] = defaultdict(deque)
        self._pool = ThreadPoolExecutor(THREADS)
        self._reading: dict[str, Future[NDArray[np.float32] | Tensor | BadImage]] = {}

    def close(self) -> None:
        """Read nothing more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def shrink(self, budget_bytes: int, views: int) -> None:
        """Hold and encode no more than that from now on, and only what is wanted next."""
        self._budget, self._views, self._ahead = budget_bytes, views, AHEAD * views
        self._make_room((), 0)

    def expect(self, order: Iterable[Iterable[Image]]) -> None:
        """What each of the coming jobs needs, in the order in which they will be asked."""
        self._uses.clear()
        for number, images in enumerate(order):
            for image in images:
                self._uses[image.digest].append(number)
        self._reading = {digest: read for digest, read in self._reading.items() if digest in self._uses}

    def read_ahead(self, images: Iterable[Image]) -> None:
        """Begin to read pictures that will be needed soon."""
        for image in images:
            if len(self._reading) >= self._ahead:
                return
            self._begin(image)

    def bring(self, images: Iterable[Image], now: int = 0, kept: Collection[str] = ()) -> Mapping[str, BadImage]:
        """Have the tokens of all these pictures, for jobs from number `now` on; those that cannot be read, by digest.

        kept: digests of pictures that stay, since somebody looks at them.
        """
        wanted = {image.digest: image for image in images}
        missing = [image for digest, image in wanted.items() if digest not in self._held]
        self._make_room({*wanted, *kept}, now, sum(map(self.bytes_of, missing)))
        bad: dict[str, BadImage] = {}
        batch: list[Views] = []
        for image in missing[: self._ahead]:
            self._begin(image)
        for image, later in itertools.zip_longest(missing, missing[self._ahead :]):
            if later is not None:
                self._begin(later)
            with self._work.stage("read pictures"):
                read = self._reading.pop(image.digest).result()
            if isinstance(read, BadImage):
                bad[image.digest] = read
                continue
            if isinstance(read, Tensor):
                self._work.images_from_cache += 1
                self._held[image.digest] = Held(read)
                continue
            batch.append(Views(image.digest, read, image.size))
            if sum(len(views.pixels) for views in batch) >= self._views:
                self._encode(batch)
                batch = []
        if batch:
            self._encode(batch)
        return bad

    def tokens(self, image: Image) -> Tensor:
        """The tokens (L, D) of a picture that was brought."""
        return self._held[image.digest].tokens

    def heads(self, digests: Sequence[str]) -> Sequence[Heads]:
        """Keys and values (N, H, L, d) of these pictures, for each gated block."""
        missing = [digest for digest in digests if not self._held[digest].heads]
        if missing:
            made = self._model.vlm.heads_of(torch.stack([self._held[digest].tokens for digest in missing]))
            for row, digest in enumerate(missing):
                # Not views of the whole batch, which could then never be freed.
                self._held[digest].heads = [Heads(*(part[row : row + 1].clone() for part in heads)) for heads in made]
        held = [self._held[digest].heads for digest in digests]
        return [Heads(*(torch.cat(parts) for parts in zip(*block, strict=True))) for block in zip(*held, strict=True)]

    def bytes_of(self, image: Image) -> int:
        """What a picture takes while it is held."""
        vlm = self._model.vlm
        return picture_bytes(vlm.architecture, vlm.dtype, image)

    def _begin(self, image: Image) -> None:
        """Have a picture read, unless it is held or being read."""
        if image.digest not in self._held and image.digest not in self._reading:
            self._reading[image.digest] = self._pool.submit(self._read, image)

    def _read(self, image: Image) -> NDArray[np.float32] | Tensor | BadImage:
        """A picture's tokens where they are kept, else its views."""
        cached = self._cache.get(image.digest) if self._cache else None
        if cached is not None:
            return cached
        try:
            return self._model.pipeline(image.load())
        except BadImage as error:
            return error

    @torch.inference_mode()
    def _encode(self, batch: Sequence[Views]) -> None:
        vlm = self._model.vlm
        with self._work.stage("encode pictures"):
            pixels = [torch.from_numpy(views.pixels).to(vlm.device, vlm.dtype) for views in batch]
            encoded = vlm.encode(pixels, [views.size for views in batch])
        self._work.images_encoded += len(batch)
        for views, tokens in zip(batch, encoded, strict=True):
            self._held[views.digest] = Held(tokens.clone())
            if self._cache:
                self._cache.put(views.digest, tokens)

    def _make_room(self, wanted: Collection[str], now: int, coming_bytes: int = 0) -> None:
        """Let go of what is needed last, but of nothing that is wanted now."""
        taken = sum(held.nbytes for held in self._held.values()) + coming_bytes
        if taken <= self._budget:
            return
        for digest in sorted(self._held.keys() - set(wanted), key=lambda digest: -self._next_use(digest, now)):
            taken -= self._held.pop(digest).nbytes
            if taken <= self._budget:
                return

    def _next_use(self, digest: str, now: int) -> int:
        uses = self._uses[digest]
        while uses and uses[0] < now:
            uses.popleft()
        return uses[0] if uses else NEVER
