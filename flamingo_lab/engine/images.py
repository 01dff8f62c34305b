"""Each distinct picture is read and encoded once while its tokens fit the budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from flamingo_lab.errors import BadImage
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.prompt import Image

BATCH = 32
"""Pictures that pass the tower together."""

THREADS = 2
"""Threads that decode and resize; Pillow lets go of the interpreter while it does."""

BUDGET_BYTES = 2**30
"""Picture tokens that are kept; the least recently used ones leave first."""


class PictureStore:
    """Picture tokens (L, Dv) by the picture's digest."""

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
        ordered = list(missing.items())
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(ordered), BATCH):
                batch = ordered[start : start + BATCH]
                pixels: dict[str, NDArray[np.float32]] = {}
                for (digest, image), read in zip(batch, pool.map(self._read, [i for _, i in batch]), strict=True):
                    if isinstance(read, BadImage):
                        found[image.name] = read
                    else:
                        pixels[digest] = read
                if pixels:
                    found |= self._encode(pixels)
        return found

    def _read(self, image: Image) -> NDArray[np.float32] | BadImage:
        try:
            return self._model.pipeline(image.load())
        except BadImage as error:
            return error

    def _encode(self, pixels: Mapping[str, NDArray[np.float32]]) -> dict[str, Tensor | BadImage]:
        vlm = self._model.vlm
        with torch.inference_mode():
            batch = torch.from_numpy(np.stack(list(pixels.values()))).to(vlm.device, vlm.dtype)
            encoded = dict(zip(pixels, vlm.encode(batch), strict=True))
        for digest, tokens in encoded.items():
            self._held[digest] = tokens
            self._bytes += tokens.nbytes
        while self._bytes > self._budget and len(self._held) > 1:
            self._bytes -= self._held.popitem(last=False)[1].nbytes
        return {**encoded}
