"""A folder of published weights as a lazy mapping from tensor name to tensor: sharded or not, safetensors or `.bin`.

Nothing but headers is read before `tensors`, nothing is ever unpickled but tensors, and every tensor is a view of the
memory-mapped file.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import pickle
import struct
import sys
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from flamingo_lab.errors import BadCheckpoint
from flamingo_lab.files import COPIED, read_json

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""safetensors' names of the dtypes that published checkpoints use."""

FORMS = (
    ("model.safetensors.index.json", "model.safetensors"),
    ("pytorch_model.bin.index.json", "pytorch_model.bin"),
    ("", "open_clip_pytorch_model.bin"),
    ("", "checkpoint.pt"),
)
"""Index and single file of each published form, the preferred form first."""

WRAPPINGS = ("model_state_dict", "state_dict")
"""Keys under which trainers put the tensors beside their own state."""


PAGEOUT = 21
"""Linux' MADV_PAGEOUT, which Python's `mmap` does not name."""


@dataclass(frozen=True)
class Entry:
    """A tensor's header: its shape, dtype and the file that holds it."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    file: Path


class Tensors(Protocol):
    """Published tensors, wherever they come from: headers by name, and the tensors on demand."""

    folder: Path
    files: tuple[Path, ...]

    def items(self) -> Iterable[tuple[str, Entry]]:
        """Headers by published name."""
        ...

    def tensor(self, name: str) -> Tensor:
        """One tensor."""
        ...

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor with its name."""
        ...


class Checkpoint(Mapping[str, Entry]):
    """The headers of all tensors in a folder, by published name."""

    def __init__(self, folder: Path, files: tuple[Path, ...], entries: Mapping[str, Entry]) -> None:
        self.folder = folder
        self.files = files
        self._entries = entries
        self._mapped: dict[Path, Mapping[str, Tensor]] = {}
        self._starts: dict[Path, Mapping[str, int]] = {}

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def tensor(self, name: str) -> Tensor:
        """One tensor."""
        file = self._entries[name].file
        if file.suffix == ".safetensors":
            with safe_open(file, "pt") as views:
                return views.get_tensor(name)
        if not is_mapped(file):
            return _unpickled(file)[name]
        if file not in self._mapped:  # views, which hold no memory, and take long to find
            self._mapped[file] = _unpickled(file)
        return self._mapped[file][name]

    def start(self, name: str) -> int | None:
        """The byte of its file where a tensor begins; None for a `.bin` file, which does not tell."""
        file = self._entries[name].file
        if file.suffix != ".safetensors":
            return None
        if file not in self._starts:
            self._starts[file] = _starts(file)
        return self._starts[file][name]

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor with its name, file by file; a file's views are dropped before the next one is opened."""
        for file in self.files:
            names = [name for name, entry in self._entries.items() if entry.file == file]
            if file.suffix == ".safetensors":
                with safe_open(file, "pt") as views:
                    for name in names:
                        yield name, views.get_tensor(name)
            else:
                views = _unpickled(file)
                for name in names:
                    yield name, views[name]


def open_folder(folder: Path) -> Checkpoint:
    """The checkpoint in a folder. Raises `BadCheckpoint`, naming file and tensor, for whatever cannot be read."""
    if (folder / COPIED).is_file():
        return _copied(folder)
    for index_name, single_name in FORMS:
        index = folder / index_name
        if index_name and index.is_file():
            return _from_index(folder, index)
        single = folder / single_name
        if single.is_file():
            return open_file(single)
    expected = ", ".join(name for form in FORMS for name in form)
    raise BadCheckpoint(f"{folder}: no weights here; expected one of {expected}")


def open_file(file: Path) -> Checkpoint:
    """The checkpoint that one file is."""
    if not file.is_file() and (file.parent / COPIED).is_file():
        return _copied(file.parent)
    return Checkpoint(file.parent, (file,), _headers(file))


def _copied(folder: Path) -> Checkpoint:
    from flamingo_lab.quant.copy import Copied

    return Copied(folder)


def is_mapped(file: Path) -> bool:
    """Whether a file's tensors are views of it. torch < 1.6 wrote a form that has to be read as a whole."""
    return file.suffix == ".safetensors" or zipfile.is_zipfile(file)


def release(tensor: Tensor, *, is_cached: bool = True) -> None:
    """Drop the resident pages of a tensor that views a mapped file; they would be read again if touched.

    Unless `is_cached`, the system's cache of the file lets go of them too.
    """
    if not is_cached and sys.platform == "linux":
        _advise(tensor, PAGEOUT)
    _advise(tensor, getattr(mmap, "MADV_DONTNEED", None))


def will_stream(tensor: Tensor) -> None:
    """Say that a tensor that views a mapped file is going to be read once, from its beginning to its end."""
    _advise(tensor, getattr(mmap, "MADV_SEQUENTIAL", None))


def _advise(tensor: Tensor, advice: int | None) -> None:
    """Tell the kernel, where it takes such advice, what becomes of the pages that are wholly the tensor's."""
    start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if end > start and advice is not None:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), advice)


def _from_index(folder: Path, index: Path) -> Checkpoint:
    where = read_json(index).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise BadCheckpoint(f"{index}: no weight_map in it; download the index again")
    files = tuple(folder / name for name in sorted(set(where.values())))
    for file in files:
        if file.parent != folder:
            raise BadCheckpoint(f"{index}: points outside its folder, at {file}")
        if not file.is_file():
            count = sum(name == file.name for name in where.values())
            raise BadCheckpoint(f"{file}: this shard is missing; {index.name} puts {count} tensors in it")
    entries = {name: entry for file in files for name, entry in _headers(file).items()}
    for name, file_name in where.items():
        if name not in entries or entries[name].file.name != file_name:
            raise BadCheckpoint(f"{folder / file_name}: tensor {name} is missing, though {index.name} puts it here")
    return Checkpoint(folder, files, entries)


def _headers(file: Path) -> dict[str, Entry]:
    if file.suffix != ".safetensors":
        return {name: Entry(tuple(t.shape), t.dtype, file) for name, t in _unpickled(file).items()}
    entries: dict[str, Entry] = {}
    try:
        with safe_open(file, "pt") as views:
            for name in views.keys():  # noqa: SIM118 - a file handle, not a mapping
                view = views.get_slice(name)
                if view.get_dtype() not in DTYPES:
                    raise BadCheckpoint(f"{file}: tensor {name} has dtype {view.get_dtype()}, which is not read")
                entries[name] = Entry(tuple(view.get_shape()), DTYPES[view.get_dtype()], file)
    except (SafetensorError, OSError) as error:
        raise BadCheckpoint(f"{file}: truncated or corrupt ({error}); download it again") from None
    return entries


def _starts(file: Path) -> dict[str, int]:
    """Where the tensors of a safetensors file begin: behind the header, whose length its first eight bytes are."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    behind = 8 + length
    return {name: behind + told["data_offsets"][0] for name, told in header.items() if name != "__metadata__"}


def _loaded(file: Path) -> Any:
    """What a `.bin` file holds, mapped where its form allows. torch refuses whatever is not data."""
    with warnings.catch_warnings(
        action="ignore"
    ):  # torch tells of old pickle protocols; what it cannot read is refused
        try:
            return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError as error:
            if "mmap" not in str(error):
                raise
            return torch.load(file, map_location="cpu", weights_only=True)  # torch < 1.6 wrote no zip file


def _unpickled(file: Path) -> dict[str, Tensor]:
    """The tensors of a `.bin` file, mapped where its form allows; refused when it holds anything else."""
    held: Any = None
    try:
        held = _loaded(file)
    except pickle.UnpicklingError:
        raise BadCheckpoint(f"{file}: holds something other than tensors; refused, nothing in it was run") from None
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadCheckpoint(f"{file}: truncated or corrupt ({reason}); download it again") from None
    if isinstance(held, dict):
        held = next((held[key] for key in WRAPPINGS if isinstance(held.get(key), dict)), held)
    if not isinstance(held, dict) or not all(isinstance(value, Tensor) for value in held.values()):
        raise BadCheckpoint(f"{file}: holds something other than tensors by name; refused")
    return held
