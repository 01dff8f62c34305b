"""From a folder of published files to a `LoadedModel`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from pathlib import Path

import torch

from flamingo_lab import families, hub, noise
from flamingo_lab.checkpoint import Tensors
from flamingo_lab.errors import BadSetting
from flamingo_lab.family import Family, Folder, flag
from flamingo_lab.loaded import LoadedModel, no_noise
from flamingo_lab.render import Renderer
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import fill

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

SETTING_FILES = ("*.json", "tokenizer.model", "*.tiktoken", "merges.txt")
"""Besides the weights, what decides an answer."""

ROOM = 0.5
"""Share of this machine's memory that weights may take in float32 before `auto` takes bfloat16 on any CPU."""


def load(
    name_or_folder: str | PathLike[str],
    *,
    weights: str | PathLike[str] | None = None,
    vision: str | PathLike[str] | None = None,
    language_model: str | PathLike[str] | None = None,
    base: str | PathLike[str] | None = None,
    owlvit: str | PathLike[str] | None = None,
    cross_attn_every_n_layers: int | None = None,
    router_noise: int | None = None,
    wording: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    download: bool = False,
) -> LoadedModel:
    """The model of a listed name or of a folder in its family's published layout.

    `weights` points to the files of a listed model, the next four to further folders where a family keeps parts
    elsewhere; `cross_attn_every_n_layers` is OpenFlamingo's, and otherwise read from its tensors' names; `router_noise`
    seeds the authors' noise on the choice of experts (MoE-LLaVA), which is left out otherwise. `wording` names one of the
    family's, its own by default. Nothing is downloaded unless `download` is set. `dtype` auto is bfloat16 on a GPU and on
    a CPU that multiplies it natively, float32 on other CPUs where the machine has room for it. Raises `LabError` kinds.
    """
    name = str(name_or_folder)
    given = {"vision": vision, "language_model": language_model, "base": base, "owlvit": owlvit}
    options = {"cross_attn_every_n_layers": cross_attn_every_n_layers, "router_noise": router_noise}
    folder, family = find(
        name,
        weights=Path(weights) if weights else None,
        parts={part: Path(where) for part, where in given.items() if where is not None},
        options={name: value for name, value in options.items() if value is not None},
        download=download,
    )
    built = family.architecture(folder)
    rules = family.rules(folder, built)
    tensors = family.tensors(folder, rules)
    tokenizer = family.tokenizer(folder)
    chosen = wording or family.wording(folder)
    if chosen not in family.wordings:
        raise BadSetting(f"wording {chosen!r} is none of the {family.name} family's: {', '.join(family.wordings)}")
    said = family.wordings[chosen]
    pipeline, markup, finish = family.pipeline(folder, built), family.markup(folder), family.finish(folder)
    place = _device(device)
    with torch.device("meta"):
        vlm = VLM(built)
    parameters = sum(parameter.numel() for parameter in vlm.parameters())
    kind = _dtype(dtype, place, parameters)
    fill(vlm, [(tensors[part], rules[part]) for part in rules], dtype=kind, device=place)
    vlm.eval()
    stop_ids = (tokenizer.id_of(token) for token in said.stop_tokens)
    listed = hub.listed(name)
    return LoadedModel(
        name=listed.name if listed else folder.path.resolve().name,
        digest=_digest(
            folder,
            tensors,
            f"{family.name} {said!r} {markup!r} {pipeline!r} {finish!r} {built!r} {family.beam_counts} {kind}",
        ),
        vlm=vlm,
        tokenizer=tokenizer,
        renderer=Renderer(markup, said, tokenizer, lambda image: built.tokens_of(image.size), family.answers_apart),
        pipeline=pipeline,
        stop_ids=frozenset(token for token in stop_ids if token is not None),
        forbidden=family.forbidden,
        beam_counts=family.beam_counts,
        finish=finish,
        noise=noise.router_noise(built.decoder) or no_noise,
        about={
            "family": family.name,
            "parameters": parameters,
            "backend": "flamingo-lab",
            "dtype": str(kind).removeprefix("torch."),
            "device": str(place),
            "weights": str(folder.path),
            "wording": chosen,
        },
    )


def find(
    name: str,
    *,
    weights: Path | None = None,
    parts: Mapping[str, Path] | None = None,
    options: Mapping[str, int] | None = None,
    download: bool = False,
) -> tuple[Folder, Family]:
    """A model's folder with the further folders that it needs, and its family. Raises `LabError` kinds."""
    given = parts or {}
    folder = Folder(hub.locate(name, weights=weights, download=download), options=options)
    family = families.of(folder)
    for option in folder.options:
        if option not in family.options:
            raise BadSetting(f"{option}: {folder.path} of the {family.name} family has no such option; leave it away")
    listed = hub.listed(name)
    wanted = {**family.parts(folder), **(listed.part_hubs if listed else {})}
    for part in given:
        if part not in wanted:
            there = ", ".join(map(flag, wanted)) or "nothing else"
            raise BadSetting(f"{flag(part)}: {folder.path} of the {family.name} family needs {there}; leave it away")
    return hub.parts(folder, wanted, given, download=download), family


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


def _dtype(name: str, device: torch.device, parameters: int) -> torch.dtype:
    if name != "auto":
        if name not in DTYPES:
            raise BadSetting(f"dtype {name!r} is none of auto, {', '.join(DTYPES)}")
        return DTYPES[name]
    if device.type != "cpu" or has_native_bfloat16():
        return torch.bfloat16
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return torch.float32 if 4 * parameters <= ROOM * memory else torch.bfloat16


def has_native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 by itself, and not through float32."""
    flags = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, flag, lambda: False)() for flag in flags)


def _digest(folder: Folder, tensors: Mapping[str, Tensors], how: str) -> str:
    """Hex SHA-256 over the contents of all files that decide an answer, and over how they are used.

    Pillow's version counts: its resampling has changed between versions.
    """
    import PIL

    folders = [folder, *(folder.parts[name] for name in sorted(folder.parts))]
    settings = [file for one in folders for form in SETTING_FILES for file in sorted(one.path.glob(form))]
    files = [file for part in sorted(tensors) for file in tensors[part].files]
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_file_digest, [*settings, *files]))
    return hashlib.sha256(json.dumps([how, PIL.__version__, digests]).encode()).hexdigest()


def _file_digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
