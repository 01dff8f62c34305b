"""A quantised copy of a model: a folder like the published one, with our own tensors in the place of the published weights.

A copy holds the settings of the folder that it was made from, and those of its further folders under `parts/`. Beside each
stands `quantised.json`, which says what was published there (names, shapes, dtypes, files), so that a family finds in the copy
what it found in the original. The tensors, under our names, are in the main folder.
"""

from __future__ import annotations

import itertools
import json
import math
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from flamingo_lab import weights
from flamingo_lab.checkpoint import Checkpoint, Entry, open_file, release
from flamingo_lab.errors import BadCheckpoint, BadSetting
from flamingo_lab.family import MAIN, Folder
from flamingo_lab.files import COPIED, read_json
from flamingo_lab.placement import Placing
from flamingo_lab.quant import FORMS, GROUP, is_quantised
from flamingo_lab.quant.forms import Packed, quantise
from flamingo_lab.quant.linear import place
from flamingo_lab.vlm import VLM

if TYPE_CHECKING:
    from flamingo_lab.understanding import Understood

PARTS = "parts"
"""The folder of a copy's further folders."""

FORMAT = 1
"""What `quantised.json` looks like; a copy of another number is refused."""

SHARD_BYTES = 2**29
"""Of tensors that are held until they are written as one file."""

BESIDE = ("LICENSE*", "NOTICE*")
"""What has to go with the settings."""

WEIGHT, SCALES = ".weight", ".scales"

Progress = Callable[[int, int], None]
"""Told the bytes of the published weights that are done, and all of them."""


class Copied(Checkpoint):
    """What was published, by its headers; the tensors that became of it are in `files`, which are the main folder's."""

    def __init__(self, folder: Path) -> None:
        self.facts = read_json(folder / COPIED)
        if self.facts.get("format") != FORMAT or self.facts.get("quant") not in FORMS:
            raise BadCheckpoint(f"{folder / COPIED}: of another version of this package; quantise the model again")
        try:
            entries = {
                name: Entry(tuple(held["shape"]), getattr(torch, held["dtype"]), folder / COPIED)
                for name, held in self.facts["published"].items()
            }
            files = tuple(folder / name for name in self.facts["files"])
        except (KeyError, TypeError, AttributeError) as error:
            raise BadCheckpoint(f"{folder / COPIED}: incomplete ({error}); quantise the model again") from None
        for file in files:
            if not file.is_file():
                raise BadCheckpoint(f"{file}: this file is missing; copy the folder again")
        super().__init__(folder, files, entries)
        self._stored = {name: file for file in files for name in open_file(file)}

    def tensor(self, name: str) -> Tensor:
        """A published tensor that was kept as it was."""
        ours = self.facts["published"][name]["ours"]
        if len(ours) != 1 or ours[0] not in self._stored or _scales(ours[0]) in self._stored:
            raise BadCheckpoint(f"{self.folder}: {name} is not in a quantised copy as it was published")
        with safe_open(self._stored[ours[0]], "pt") as views:
            return views.get_tensor(ours[0])

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Raises: what was published is not here any more."""
        raise BadSetting(f"{self.folder} is a quantised copy; this needs the files that it was made from")

    def fill(self, vlm: VLM, dtype: torch.dtype, device: torch.device) -> None:
        """Fill a model on the meta device; integers stay views of the files where the device is a CPU."""
        wanted = weights.held(vlm)
        for name in self._stored:
            if name not in wanted and name.removesuffix(SCALES) + WEIGHT not in wanted:
                raise BadCheckpoint(f"{self._stored[name]}: unknown tensor {name}; quantise the model again")
        for file in self.files:
            with safe_open(file, "pt") as views:
                for name in (name for name, where in self._stored.items() if where == file and name in wanted):
                    tensor = views.get_tensor(name)
                    if is_quantised(name, wanted[name]):
                        self._place(vlm, name, tensor, views, device)
                    elif tensor.shape != wanted[name].shape:
                        found, expected = list(tensor.shape), list(wanted[name].shape)
                        raise BadCheckpoint(f"{file}: tensor {name} is {found}; {expected} is expected")
                    else:
                        _put(vlm, name, tensor, dtype, device)
        for name in wanted.keys() - self._stored.keys():
            raise BadCheckpoint(f"{self.folder}: tensor {name} is missing; quantise the model again")

    def _place(self, vlm: VLM, name: str, weight: Tensor, views: Any, device: torch.device) -> None:
        scales = _scales(name)
        if self._stored.get(scales) != self._stored[name]:
            raise BadCheckpoint(f"{self._stored[name]}: tensor {scales} is missing; quantise the model again")
        try:
            place(vlm, name, Packed(weight, views.get_tensor(scales)), self.facts["quant"], device)
        except ValueError as error:
            raise BadCheckpoint(f"{self._stored[name]}: tensor {name} {error}; quantise the model again") from None


def placing(folder: Path, asked: Placing) -> Placing:
    """What is asked for, in a copy with its own form of weights. Raises `BadSetting` for what a copy cannot do."""
    if not (folder / COPIED).is_file():
        return asked
    own = Copied(folder).facts["quant"]
    if asked.quant not in (None, own):
        raise BadSetting(f"--quant {asked.quant}: {folder} is quantised to {own}; leave the option away")
    for option, is_given in (("--offload", asked.offload), ("--tensor-parallel", asked.tensor_parallel > 1)):
        if is_given:
            raise BadSetting(f"{option}: {folder} is quantised to {own}, which stays on one device; leave it away")
    return asked._replace(quant=own)


def parts_of(folder: Path, given: Mapping[str, Path]) -> Mapping[str, Path]:
    """The further folders of a model: those in a copy, else those that are given. A copy takes no others."""
    if not (folder / COPIED).is_file():
        return given
    for part in given:
        raise BadSetting(f"{part}: {folder} is a quantised copy, which holds all its parts; leave it away")
    inner = folder / PARTS
    return {path.name: path for path in sorted(inner.iterdir())} if inner.is_dir() else {}


class Written(NamedTuple):
    """A copy: where it is, how many matrices are quantised, and the bytes of its tensors and of the published ones."""

    folder: Path
    matrices: int
    bytes: int
    published_bytes: int


def write(found: Understood, form: str, to: Path, progress: Progress = lambda done, total: None) -> Written:
    """Write a copy in this form, wholly or not at all. Raises `BadSetting` where it cannot be made or written."""
    _refuse(found, to)
    draft = to.parent / f".{to.name}-{uuid.uuid4().hex[:8]}"
    try:
        draft.mkdir()
        written = _write(found, form, draft, progress)
        draft.rename(to)
    except (OSError, SafetensorError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise BadSetting(f"--to {to}: could not be written ({reason}); nothing of it is left") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return written._replace(folder=to)


def _refuse(found: Understood, to: Path) -> None:
    for tensors in found.tensors.values():
        if isinstance(tensors, Copied):
            raise BadSetting(f"{found.folder.path} is a quantised copy already; name the model that it was made from")
        if not isinstance(tensors, Checkpoint):
            raise BadSetting(
                f"{found.folder.path} is put together with its base while it loads, so it has no copy: load it with --quant"
            )
    if to.exists():
        raise BadSetting(f"--to {to}: is there already; name another folder or remove it")
    if not to.parent.is_dir():
        raise BadSetting(f"--to {to}: there is no folder {to.parent}")


def _write(found: Understood, form: str, folder: Path, progress: Progress) -> Written:
    shards = _Shards(folder)
    matrices = _write_tensors(found, form, shards, progress)
    for part, source in {MAIN: found.folder, **found.folder.parts}.items():
        of_part = folder if part == MAIN else folder / PARTS / part
        of_part.mkdir(parents=True, exist_ok=True)
        _copy_settings(source, of_part)
        tensors = found.tensors.get(part)
        facts = {
            "format": FORMAT,
            "quant": form,
            "group": GROUP if form == "int4" else None,
            "files": [file.name for file in shards.files] if part == MAIN else [],
            "weights": [file.name for file in tensors.files] if tensors else [],
            "published": _published(found, part),
        }
        (of_part / COPIED).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    for file in shards.files:  # safetensors lets nobody else read what it writes
        shutil.copymode(folder / COPIED, file)
    return Written(folder, matrices, shards.nbytes, _nbytes(found))


def _write_tensors(found: Understood, form: str, shards: _Shards, progress: Progress) -> int:
    """Bring every tensor into the shards; how many matrices there were."""
    total, done, matrices = _nbytes(found), 0, 0
    for (tensors, _), fills in zip(found.sources, weights.check(found.vlm, found.sources), strict=True):
        for name, tensor in tensors.tensors():
            target = fills.get(name)
            for ours, whole in zip(target.names, target.apply(tensor), strict=True) if target else ():
                if is_quantised(ours, whole):
                    packed = quantise(whole, form)
                    shards.add({ours: packed.weight, _scales(ours): packed.scales})
                    matrices += 1
                else:
                    shards.add({ours: whole.clone(memory_format=torch.contiguous_format)})
            release(tensor)
            done += tensor.nbytes
            progress(done, total)
    shards.flush()
    return matrices


def _published(found: Understood, part: str) -> Mapping[str, Any]:
    """The headers of a part's tensors, and which of ours are the same tensors."""
    held: dict[str, Any] = {}
    for tensors, rules in found.sources:
        if tensors is not found.tensors.get(part):
            continue
        for name, entry in tensors.items():
            target = rules.ours(name)
            held[name] = {
                "shape": list(entry.shape),
                "dtype": str(entry.dtype).removeprefix("torch."),
                "ours": list(target.names) if target and target.step is None else [],
            }
    return held


def _nbytes(found: Understood) -> int:
    """Of all published tensors."""
    headers = (entry for tensors, _ in found.sources for _, entry in tensors.items())
    return sum(math.prod(entry.shape) * entry.dtype.itemsize for entry in headers)


class _Shards:
    """Tensors on their way to files of about `SHARD_BYTES`."""

    def __init__(self, folder: Path) -> None:
        self.files: list[Path] = []
        self.nbytes = 0
        self._folder = folder
        self._numbers = itertools.count(1)
        self._held: dict[str, Tensor] = {}

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Take tensors that stand in one file."""
        self._held |= tensors
        self.nbytes += sum(tensor.nbytes for tensor in tensors.values())
        if sum(tensor.nbytes for tensor in self._held.values()) >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            self.files.append(self._folder / f"quantised-{next(self._numbers):05}.safetensors")
            save_file(self._held, self.files[-1])
            self._held = {}


def _copy_settings(source: Folder, to: Path) -> None:
    from flamingo_lab.loading import SETTING_FILES

    settings: Sequence[str] = (*SETTING_FILES, *BESIDE)
    for file in (file for form in settings for file in sorted(source.path.glob(form))):
        if not file.name.endswith(".index.json"):
            shutil.copyfile(file, to / file.name)


def _put(vlm: nn.Module, name: str, tensor: Tensor, dtype: torch.dtype, device: torch.device) -> None:
    converted = tensor.to(device=device, dtype=dtype)
    weights.put(vlm, name, converted)
    if converted.data_ptr() != tensor.data_ptr():
        release(tensor)


def _scales(name: str) -> str:
    """Of the scales of the matrix of this name."""
    return name.removesuffix(WEIGHT) + SCALES
