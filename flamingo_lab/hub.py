"""Where a model's files are: a folder, the package itself, the hub's cache; and what to do when they are nowhere."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from flamingo_lab import families
from flamingo_lab.config import BUNDLED, Size
from flamingo_lab.errors import BadCheckpoint, MissingModel, UnknownName

WANTED_FILES = ("*.json", "*.safetensors", "tokenizer.model")
"""What is fetched of a repository; `.bin` copies of the same weights are left there."""

BYTES_BY_DTYPE = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0, "int4": 0.5}


def locate(name: str, *, weights: Path | None = None, download: bool = False) -> Path:
    """The folder with the files of a model, given by a listed name or as a folder.

    Raises `UnknownName` with the nearest names, `BadCheckpoint` for a folder without `config.json`, `MissingModel` with
    all one needs to know where the files are not on this machine.
    """
    if weights is not None:
        return _checked(weights)
    size = find(name)
    if size is None:
        folder = Path(name)
        if folder.is_dir():
            return _checked(folder)
        raise UnknownName(unknown(name))
    if size.bundled:
        return BUNDLED / size.bundled
    here = Path(size.name)
    if (here / "config.json").is_file():
        return here
    return _from_hub(size, download=download)


def find(name: str) -> Size | None:
    """The listed model of this name, None if there is none."""
    return next((size for _, size in families.sizes() if size.name == name.lower()), None)


def machine() -> tuple[float, str | None]:
    """This machine's memory in bytes, and its first GPU with its memory as text, None without one."""
    import torch

    memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    if not torch.cuda.is_available():
        return memory, None
    gpu = torch.cuda.get_device_properties(0)
    return memory, f"{gpu.name} with {gib(gpu.total_memory)} of memory"


def gib(count: float) -> str:
    """Bytes as GiB for people, as MiB below one GiB."""
    return f"{count / 2**30:.0f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def memory_needed(parameters: int) -> str:
    """What the weights alone take at each dtype."""
    return " · ".join(
        f"{dtype} {gib(parameters * size)}" for dtype, size in BYTES_BY_DTYPE.items() if dtype != "float32"
    )


def _checked(folder: Path) -> Path:
    if not folder.is_dir():
        raise BadCheckpoint(f"{folder}: no such folder of weights")
    if not (folder / "config.json").is_file():
        raise BadCheckpoint(f"{folder}: no config.json in it, so it is not a published checkpoint")
    return folder


def unknown(name: str) -> str:
    """What to say of a name that is not listed, with the nearest ones."""
    names = [size.name for _, size in families.sizes()]
    near = difflib.get_close_matches(name.lower(), names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}"
    return f"unknown model {name!r}, and no folder of that name: {hint} (all: flab list models)"


def _from_hub(size: Size, *, download: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    assert size.hub is not None
    try:
        folder = snapshot_download(size.hub, allow_patterns=list(WANTED_FILES), local_files_only=not download)
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise MissingModel(_missing(size, HF_HUB_CACHE, error if download else None)) from None
    return _checked(Path(folder))


def _missing(size: Size, cache: str, failure: Exception | None) -> str:
    memory, gpu = machine()
    gigabytes = size.parameters * 2 / 1e9
    reason = f"could not be downloaded ({str(failure).splitlines()[0]})" if failure else "is not on this machine"
    rows = {
        "looked in": f"./{size.name}, the hub cache ({cache})",
        "get it": f"flab eval --download ...   or   hf download {size.hub}   ({gigabytes:.0f} GB)",
        "or point": "flab eval --weights DIR ...",
        "it needs": f"{memory_needed(size.parameters)};  this machine has {gib(memory)} of memory and {gpu or 'no GPU'}",
    }
    return "\n".join([f"{size.name} {reason}", *(f"  {label:<11} {text}" for label, text in rows.items())])
