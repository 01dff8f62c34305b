"""From a folder of published files to a `LoadedModel`."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path

import torch

from flamingo_lab import checkpoint, families, hub
from flamingo_lab.checkpoint import Checkpoint, read_json
from flamingo_lab.errors import BadSetting
from flamingo_lab.loaded import LoadedModel
from flamingo_lab.render import Renderer
from flamingo_lab.tokens import TokenizerFile
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import fill

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

SETTING_FILES = ("config.json", "preprocessor_config.json", "tokenizer.json")
"""Besides the weights, what decides an answer."""

ROOM = 0.5
"""Share of this machine's memory that weights may take in float32 before `auto` keeps the files' dtype on a CPU."""


def load(
    name_or_folder: str | PathLike[str],
    *,
    weights: str | PathLike[str] | None = None,
    vision: str | PathLike[str] | None = None,
    language_model: str | PathLike[str] | None = None,
    base: str | PathLike[str] | None = None,
    owlvit: str | PathLike[str] | None = None,
    device: str = "auto",
    dtype: str = "auto",
    download: bool = False,
) -> LoadedModel:
    """The model of a listed name or of a folder in its family's published layout.

    `weights` points to the files of a listed model, the next four to further folders where a family keeps parts
    elsewhere. Nothing is downloaded unless `download` is set. `dtype` auto is
    float32 on a CPU where the machine has room for it, the files' own elsewhere. Raises `LabError` kinds.
    """
    name = str(name_or_folder)
    folder = hub.locate(name, weights=Path(weights) if weights else None, download=download)
    config = read_json(folder / "config.json")
    family = families.of(config, folder)
    given = {"vision": vision, "language_model": language_model, "base": base, "owlvit": owlvit}
    for part, where in given.items():
        if where is not None and part not in family.parts:
            raise BadSetting(f"{part} {where}: the {family.name} family keeps everything in one folder; leave it away")
    files = checkpoint.open_folder(folder)
    built = family.architecture(config, {key: entry.shape for key, entry in files.items()})
    settings_file = folder / "preprocessor_config.json"
    pipeline = family.pipeline(read_json(settings_file) if settings_file.is_file() else {}, built)
    tokenizer = TokenizerFile(folder / "tokenizer.json")
    wording = family.wording(tokenizer)
    place = _device(device)
    with torch.device("meta"):
        vlm = VLM(built)
    parameters = sum(parameter.numel() for parameter in vlm.parameters())
    kind = _dtype(dtype, place, files, parameters)
    fill(vlm, files, family.rules(built), dtype=kind, device=place)
    vlm.eval()
    stop_ids = (tokenizer.id_of(token) for token in family.stop_tokens[wording])
    listed = hub.find(name)
    return LoadedModel(
        name=listed.name if listed else folder.resolve().name,
        digest=_digest(folder, files, f"{family.name} {wording} {pipeline!r} {kind}"),
        vlm=vlm,
        tokenizer=tokenizer,
        renderer=Renderer(family.markup, family.wordings[wording], tokenizer),
        pipeline=pipeline,
        stop_ids=frozenset(token for token in stop_ids if token is not None),
        forbidden=family.forbidden,
        about={
            "family": family.name,
            "parameters": parameters,
            "backend": "flamingo-lab",
            "dtype": str(kind).removeprefix("torch."),
            "device": str(place),
            "weights": str(folder),
            "wording": wording,
        },
    )


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise BadSetting(f"device {name!r} is none of auto, cpu, cuda, cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise BadSetting(f"device {name}: this machine has {torch.cuda.device_count()} GPUs that torch can use")
    return device


def _dtype(name: str, device: torch.device, files: Checkpoint, parameters: int) -> torch.dtype:
    if name != "auto":
        if name not in DTYPES:
            raise BadSetting(f"dtype {name!r} is none of auto, {', '.join(DTYPES)}")
        return DTYPES[name]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if device.type == "cpu" and 4 * parameters <= ROOM * memory:
        return torch.float32
    return next(entry.dtype for entry in files.values() if entry.dtype.is_floating_point)


def _digest(folder: Path, files: Checkpoint, how: str) -> str:
    """Hex SHA-256 over the contents of all files that decide an answer, and over how they are used.

    Pillow's version counts: its resampling has changed between versions.
    """
    import PIL

    settings = [folder / name for name in SETTING_FILES if (folder / name).is_file()]
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_file_digest, [*settings, *files.files]))
    return hashlib.sha256(json.dumps([how, PIL.__version__, digests]).encode()).hexdigest()


def _file_digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
