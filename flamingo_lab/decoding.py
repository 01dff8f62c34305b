"""Encoded pictures to decoded ones. What is named by its pixels and then prepared, is decoded once.

A plan asks for every picture's digest, and so decodes it; soon after, the model wants the same pixels. The latest decoded
pictures are therefore kept until they are taken, up to a bound, and digests are kept by what the files hold.
"""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_PIXELS = 89_478_485
"""Largest picture that is decoded, in pixels: where Pillow begins to warn of a decompression bomb."""

KEPT_BYTES = 256 * 2**20
"""Decoded pictures that are kept until they are taken, at most."""

KNOWN = 1_000_000
"""Encoded pictures whose facts are kept."""


class Facts(NamedTuple):
    """A picture's digest, hex SHA-256 of mode, size and pixels, and its size (width, height) in pixels."""

    digest: str
    size: tuple[int, int]


class _Memory:
    """What is known of encoded pictures, by the SHA-256 of their bytes. Several threads may read at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._facts: OrderedDict[bytes, Facts] = OrderedDict()
        self._kept: OrderedDict[bytes, tuple[Picture, int]] = OrderedDict()
        self._bytes = 0
        self._most = KEPT_BYTES

    def facts(self, key: bytes) -> Facts | None:
        with self._lock:
            return self._facts.get(key)

    def keep(self, key: bytes, picture: Picture, facts: Facts) -> None:
        nbytes = picture.width * picture.height * len(picture.getbands())
        with self._lock:
            self._facts[key] = facts
            if len(self._facts) > KNOWN:
                self._facts.popitem(last=False)
            if key in self._kept:
                return
            self._kept[key] = picture, nbytes
            self._bytes += nbytes
            self._make_room()

    def take(self, key: bytes) -> Picture | None:
        with self._lock:
            picture, nbytes = self._kept.pop(key, (None, 0))
            self._bytes -= nbytes
            return picture

    def keep_at_most(self, nbytes: int) -> None:
        with self._lock:
            self._most = min(nbytes, KEPT_BYTES)
            self._make_room()

    def _make_room(self) -> None:
        while self._bytes > self._most:
            _, (_, freed) = self._kept.popitem(last=False)
            self._bytes -= freed


_memory = _Memory()

_opening = threading.Lock()
"""Warnings are the whole process' to filter, so that one thread at a time may."""


def facts(encoded: bytes) -> Facts:
    """What the pixels are called, and their size. The decoded picture is kept for the next `take` of it."""
    key = hashlib.sha256(encoded).digest()
    found = _memory.facts(key)
    if found is None:
        picture = decode(encoded)
        found = facts_of(picture)
        _memory.keep(key, picture, found)
    return found


def take(encoded: bytes) -> Picture:
    """The decoded picture, in the file's own mode: the kept one, which is given away, or one that is decoded now."""
    return _memory.take(hashlib.sha256(encoded).digest()) or decode(encoded)


def keep_at_most(nbytes: int) -> None:
    """Bound the decoded pictures that are kept, from now on; never above `KEPT_BYTES`."""
    _memory.keep_at_most(nbytes)


def facts_of(picture: Picture) -> Facts:
    """The facts of a decoded picture."""
    size = picture.size
    if picture.mode == "P":  # the palette belongs to the pixels
        picture = picture.convert("RGBA")
    head = f"{picture.mode} {picture.width}x{picture.height}\n".encode()
    return Facts(hashlib.sha256(head + picture.tobytes()).hexdigest(), size)


def decode(encoded: bytes) -> Picture:
    """The picture. Raises whatever Pillow does for what is none, and its errors of bombs for one of too many pixels."""
    from PIL import Image as pil

    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", pil.DecompressionBombWarning)  # what Pillow warns of is refused below
        picture = pil.open(io.BytesIO(encoded))
    with picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise pil.DecompressionBombError(f"{picture.width} x {picture.height}")
        picture.load()
        return picture
