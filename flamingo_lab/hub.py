"""Where a model's files are: a folder, a URL, the package itself, the hub's cache; and what to do when they are nowhere."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flamingo_lab import backends, families, host, remote
from flamingo_lab.errors import BadCheckpoint, BadSetting, MissingModel, UnknownName
from flamingo_lab.family import BUNDLED, Folder, Size, flag

if TYPE_CHECKING:
    from flamingo_lab.config import Architecture

UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def locate(name: str, *, weights: Path | None = None, download: bool = False) -> Path:
    """The folder with the files of a model, given by a listed name, as a folder, or as a URL that fsspec knows.

    Raises `UnknownName` with the nearest names, `BadCheckpoint` for a folder without `config.json`, `MissingModel` with
    all one needs to know where the files are not on this machine.
    """
    if backends.find(name) is not None:
        raise BadSetting(f"{name} is answered by a backend; this looks at files in the layouts of our own families")
    if weights is not None:
        return _checked(weights)
    if remote.is_url(name):
        return _checked(remote.fetched(name, download=download))
    size = listed(name)
    if size is None:
        folder = Path(name)
        if name and folder.is_dir():
            return _checked(folder)
        raise UnknownName(unknown(name))
    if size.bundled:
        return BUNDLED / size.bundled
    here = Path(size.name)
    if (here / "config.json").is_file() or (here / "checkpoint.pt").is_file():
        return here
    return _from_hub(size, download=download)


def listed(name: str) -> Size | None:
    """The listed model of this name, None if there is none."""
    return next((size for _, size in families.sizes() if size.name == name.lower()), None)


def machine() -> tuple[float, str | None]:
    """This machine's memory in bytes, and its first GPU with its memory as text, None without one."""
    import torch

    memory = float(host.total_bytes())
    if not torch.cuda.is_available():
        return memory, None
    gpu = torch.cuda.get_device_properties(0)
    return memory, f"{gpu.name} with {gib(gpu.total_memory)} of memory"


def gib(count: float) -> str:
    """Bytes as GiB for people, as MiB or KiB where that is less than one."""
    size, unit = next(((size, unit) for size, unit in UNITS if count >= size), UNITS[-1])
    return f"{count / size:.0f} {unit}"


def memory_needed(*built: Architecture) -> str:
    """What the weights alone of models take together, in each form."""
    import torch

    from flamingo_lab.placement import needs
    from flamingo_lab.vlm import VLM

    with torch.device("meta"):
        taken = needs.by_form([VLM(one) for one in built])
    return " · ".join(f"{form} {gib(count)}" for form, count in taken.items())


def parts(folder: Folder, wanted: Mapping[str, str | None], given: Mapping[str, Path], *, download: bool) -> Folder:
    """The folder with its further folders: those that are given, else where `wanted` says they are, None for nowhere."""
    found = {name: Folder(_given(path)) for name, path in given.items()}
    for name, where in wanted.items():
        if name not in found and where is not None:
            found[name] = _default(folder, name, where, download)
    return Folder(folder.path, found, options=folder.options)


def _given(path: Path) -> Path:
    if not path.is_dir():
        raise BadCheckpoint(f"{path}: no such folder of weights")
    return path


def _default(folder: Folder, name: str, where: str, download: bool) -> Folder:
    if where.startswith("./"):
        path = (folder.path / where).resolve()
        if not path.is_relative_to(folder.path.resolve()):
            raise BadCheckpoint(f"{folder.path / 'config.json'}: {where!r} leads out of the folder")
        if path.is_dir():
            return Folder(path)
        raise BadCheckpoint(f"{path}: no such folder, though config.json names it as the {name.replace('_', ' ')}")
    cached = snapshot(where, download=download)
    if isinstance(cached, Path):
        return Folder(cached)
    raise MissingModel(
        f"{folder.path}: its {name.replace('_', ' ')} is in another repository; looked in the hub cache for {where}: "
        f"point to it with {flag(name)}, or get it with: hf download {where}"
    )


def _checked(folder: Path) -> Path:
    if not folder.is_dir():
        raise BadCheckpoint(f"{folder}: no such folder of weights")
    if not any(folder.glob("*.json")) and not (folder / "checkpoint.pt").is_file():
        below = sorted(folder.glob("*/config.json"))
        hint = f"{below[0].parent} has one" if below else "so it is not a published checkpoint"
        raise BadCheckpoint(f"{folder}: no config.json in it, {hint}")
    return folder


def unknown(name: str) -> str:
    """What to say of a name that is not listed, with the nearest ones."""
    from flamingo_lab import composed

    names = [size.name for _, size in families.sizes()] + [one.name for one in composed.all_composed()]
    if "/" in name or name.startswith("."):
        return f"{name}: no such folder, and no listed name; flab list models has all"
    near = difflib.get_close_matches(name.lower(), names, n=3)
    hint = f"did you mean {' or '.join(near)}? (all: flab list models)" if near else "flab list models has all"
    return f"unknown model {name!r}, and no folder of that name: {hint}"


def _from_hub(size: Size, *, download: bool) -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    assert size.hub is not None
    found = snapshot(size.hub, download=download)
    if isinstance(found, Path):
        return _checked(found)
    raise MissingModel(_missing(size, HF_HUB_CACHE, found if download else None))


def snapshot(repository: str, *, download: bool) -> Path | Exception:
    """A repository's folder in the hub's cache, fetched first if asked; else the reason why there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(repository, ignore_patterns=list(remote.NEVER_FETCHED), local_files_only=not download)
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        return error


def _missing(size: Size, cache: str, failure: Exception | None) -> str:
    memory, gpu = machine()
    gigabytes = size.parameters * 2 / 1e9
    needed = memory_needed(families.listing(size).architecture(Folder.listed(size)))
    reason = f"could not be downloaded ({str(failure).splitlines()[0]})" if failure else "is not on this machine"
    rows = {
        "looked in": f"./{size.name}, the hub cache ({cache})",
        "get it": f"flab eval --download ...   or   hf download {size.hub}   ({gigabytes:.0f} GB)",
        "or point": "flab eval --weights DIR ...",
        "it needs": f"{needed};  this machine has {gib(memory)} of memory and {gpu or 'no GPU'}",
        "it would run": f"as flab check {size.name} --plan says",
    }
    return "\n".join([f"{size.name} {reason}", *(f"  {label:<12} {text}" for label, text in rows.items())])
