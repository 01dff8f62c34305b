"""Each distinct picture is read and encoded once while its tokens fit the budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flamingo_lab.errors import BadImage
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.prompt import Image

BATCH = 32
"""Views that pass the tower together; a picture's are not parted."""

THREADS = 2
"""Threads that decode and resize; Pillow lets go of the interpreter while it does."""

BUDGET_BYTES = 2**30
"""Picture tokens that are kept; the least recently used ones leave first."""


class Views(NamedTuple):
    """A picture's digest, its views as the model takes them (see `VLM.encode`), and its size (width, height)."""

    digest: str
    pixels: NDArray[np.float32]
    size: tuple[int, int]


class PictureStore:
    """Picture tokens (L, D) by the picture's digest."""

    def __init__(self, model: LoadedModel, budget_bytes: int = BUDGET_BYTES) -> None:
        self._model = model
        self._budget = budget_bytes
        self._held: OrderedDict[str, Tensor] = OrderedDict()
        self._bytes = 0

    def tokens(self, images: Iterable[Image]) -> Mapping[str, Tensor | BadImage]:
        """Tokens of every picture by digest; the error of one that cannot be read by its name."""
        found: dict[str, Tensor | BadImage] = {}
        missing: dict[str, Image] = {}
        for image in images:
            try:
                digest = image.digest
            except BadImage as error:
                found[image.name] = error
                continue
            if digest in self._held:
                self._held.move_to_end(digest)
                found[digest] = self._held[digest]
            else:
                missing[digest] = image
        with ThreadPoolExecutor(THREADS) as pool:
            reads = zip(missing.items(), pool.map(self._read, missing.values()), strict=True)
            batch: list[Views] = []
            for (digest, image), read in reads:
                if isinstance(read, BadImage):
                    found[image.name] = read
                    continue
                batch.append(Views(digest, read, image.size))
                if sum(len(views.pixels) for views in batch) >= BATCH:
                    found |= self._encode(batch)
                    batch = []
            if batch:
                found |= self._encode(batch)
        return found

    def _read(self, image: Image) -> NDArray[np.float32] | BadImage:
        try:
            return self._model.pipeline(image.load())
        except BadImage as error:
            return error

    def _encode(self, batch: Sequence[Views]) -> dict[str, Tensor | BadImage]:
        vlm = self._model.vlm
        with torch.inference_mode():
            pixels = [torch.from_numpy(views.pixels).to(vlm.device, vlm.dtype) for views in batch]
            encoded = vlm.encode(pixels, [views.size for views in batch])
        for views, tokens in zip(batch, encoded, strict=True):
            self._held[views.digest] = tokens.clone()  # not a view of the whole batch, which could then never be freed
            self._bytes += tokens.nbytes
        fresh: dict[str, Tensor | BadImage] = {views.digest: self._held[views.digest] for views in batch}
        while self._bytes > self._budget and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].nbytes
        return fresh
