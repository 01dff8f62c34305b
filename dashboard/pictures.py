"""Pictures of a results folder: found by digest or name in allowed places, checked against their digest, made small once."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import warnings
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import streamlit as st
from PIL import Image as pil

KEPT = "pictures.zip"
"""The archive in a results folder that holds pictures by digest, so that they are seen where the data is not."""

DIGEST = re.compile(r"[0-9a-f]{64}")
FULL_PX, THUMBNAIL_PX, SMALL_PX = 1200, 96, 44
"""Longest sides of what is sent: a picture at full width, one inside a prompt, one in a list."""

MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Sources:
    """Where pictures may come from: the results folder's own archive, then the folders and archives in `roots`."""

    results: Path
    roots: tuple[Path, ...] = ()

    def read(self, digest: str, name: str) -> bytes:
        """The file of the picture with this digest. Raises `Missing`, which says why there is none."""
        if not DIGEST.fullmatch(digest):
            raise Missing("its digest was not recorded")
        kept = _member(self.results / KEPT, digest)
        if kept is not None:
            return kept
        if not self.roots:
            raise Missing("no folder of pictures was given: flab dashboard --images DIR")
        is_outside = True
        for root in self.roots:
            found = _member(root, name) if root.suffix == ".zip" else _file(root, name)
            is_outside &= found is None and _is_outside(root, name)
            if found is not None and pixels_digest(found) == digest:
                return found
        if is_outside:
            raise Missing("its path leads out of the folders that pictures may come from (--images DIR)")
        raise Missing("no file of this name with these pixels in the folders of --images")


class Missing(Exception):
    """A picture that cannot be shown, and why."""


class Picture(NamedTuple):
    """A picture ready to be shown: a `data:` address and the size of the original in pixels, or why there is none."""

    src: str | None
    width: int
    height: int
    reason: str = ""


def pixels_digest(file: bytes) -> str:
    """Hex SHA-256 of mode, size and pixels, as runs record it; of nothing where the file is no picture."""
    try:
        picture = _decoded(file)
    except Missing:
        return ""
    if picture.mode == "P":
        picture = picture.convert("RGBA")
    head = f"{picture.mode} {picture.width}x{picture.height}\n".encode()
    return hashlib.sha256(head + picture.tobytes()).hexdigest()


@st.cache_data(max_entries=20_000, show_spinner=False, hash_funcs={Sources: repr})
def picture(sources: Sources, digest: str, name: str, longest_px: int) -> Picture:
    """The picture, no side longer than `longest_px`."""
    try:
        made = _decoded(sources.read(digest, name))
    except Missing as error:
        return Picture(None, 0, 0, str(error))
    size = made.size
    made = made.convert("RGBA" if "transparency" in made.info or made.mode in ("RGBA", "LA") else "RGB")
    made.thumbnail((longest_px, longest_px))
    stream = io.BytesIO()
    is_small = made.width * made.height <= THUMBNAIL_PX**2
    made.save(stream, "PNG" if is_small else "WEBP", **({} if is_small else {"quality": 85}))
    kind = "png" if is_small else "webp"
    return Picture(f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}", *size)


def _decoded(file: bytes) -> pil.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pil.DecompressionBombWarning)
            made = pil.open(io.BytesIO(file))
            made.load()
            return made
    # Pillow's decoders raise SyntaxError, ValueError, struct.error, EOFError ... on damaged files.
    except Exception as error:
        raise Missing(f"its file cannot be decoded ({type(error).__name__})") from None


def _is_outside(root: Path, name: str) -> bool:
    if root.suffix == ".zip":
        return False
    try:
        return not (root / name).resolve().is_relative_to(root.resolve())
    except (OSError, ValueError):
        return True


def _file(root: Path, name: str) -> bytes | None:
    """A file inside the folder, links followed; None where it is not there or lies outside."""
    if _is_outside(root, name):
        return None
    try:
        path = (root / name).resolve()
        return path.read_bytes() if path.is_file() and path.stat().st_size <= MOST_BYTES else None
    except (OSError, ValueError):
        return None


def _member(archive: Path, name: str) -> bytes | None:
    held = _archive(archive, archive.stat().st_mtime_ns) if archive.is_file() else None
    if held is None:
        return None
    try:
        return held.read(name) if held.getinfo(name).file_size <= MOST_BYTES else None
    except (KeyError, zipfile.BadZipFile, OSError):
        return None


@lru_cache(maxsize=16)
def _archive(path: Path, changed: int) -> zipfile.ZipFile | None:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError):
        return None
