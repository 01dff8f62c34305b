"""From a folder of published files to what they describe. No weights are read."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import torch

from flamingo_lab import families, hub
from flamingo_lab.checkpoint import Tensors
from flamingo_lab.config import Architecture
from flamingo_lab.errors import BadConfig, BadSetting
from flamingo_lab.family import Family, Folder, flag
from flamingo_lab.markup import Finish, Markup
from flamingo_lab.pixels import Pipeline
from flamingo_lab.quant import copy
from flamingo_lab.tokens import Tokenizer
from flamingo_lab.vlm import VLM
from flamingo_lab.weights import Source
from flamingo_lab.wording import Wording

CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"


class Understood(NamedTuple):
    """What a model's files describe, and where its tensors are. `vlm` is on the meta device.

    `chosen` names the wording that it is spoken to in. `eos`: ids that end an answer in any wording; the other fields are
    what the `Family`'s functions of the same names give.
    """

    folder: Folder
    family: Family
    vlm: VLM
    tensors: Mapping[str, Tensors]
    sources: Sequence[Source]
    tokenizer: Tokenizer
    chosen: str
    markup: Markup
    pipeline: Pipeline
    finish: Finish | None
    eos: frozenset[int]

    @property
    def wording(self) -> Wording:
        """How it is spoken to."""
        return self.family.wordings[self.chosen]

    @property
    def parameters(self) -> int:
        """How many the model has."""
        return sum(parameter.numel() for parameter in self.vlm.parameters())


def understand(
    name: str,
    weights: Path | None = None,
    parts: Mapping[str, Path] | None = None,
    settings: Mapping[str, int] | None = None,
    wording: str | None = None,
    *,
    download: bool = False,
) -> Understood:
    """A model's files, found and understood. Raises `LabError` kinds; whether they hold what they say is `weights.check`'s."""
    folder, family = find(name, weights=weights, parts=parts, options=settings, download=download)
    with _reading(folder, TOKENIZER_CONFIG):
        tokenizer = family.tokenizer(folder)
    built = architecture(folder, family)
    with _reading(folder, CONFIG):
        rules = family.rules(folder, built)
        with torch.device("meta"):
            vlm = VLM(built)
    with _reading(folder, "adapter_config.json"):
        tensors = family.tensors(folder, rules)
    with _reading(folder, CONFIG, TOKENIZER_CONFIG):
        chosen = wording or family.wording(folder)
        markup = family.markup(folder)
    if chosen not in family.wordings:
        raise BadSetting(f"wording {chosen!r} is none of the {family.name} family's: {', '.join(family.wordings)}")
    with _reading(folder, "preprocessor_config.json"):
        pipeline, finish = family.pipeline(folder, built), family.finish(folder)
    with _reading(folder, "generation_config.json", CONFIG):
        eos = frozenset(family.eos(folder))
    sources = [(tensors[part], rules[part]) for part in rules]
    return Understood(folder, family, vlm, tensors, sources, tokenizer, chosen, markup, pipeline, finish, eos)


def architecture(folder: Folder, family: Family) -> Architecture:
    """What the files describe. Raises `BadConfig` and other kinds of `BadCheckpoint`."""
    with _reading(folder, CONFIG):
        return family.architecture(folder)


def find(
    name: str,
    *,
    weights: Path | None = None,
    parts: Mapping[str, Path] | None = None,
    options: Mapping[str, int] | None = None,
    download: bool = False,
) -> tuple[Folder, Family]:
    """A model's folder with the further folders that it needs, and its family. Raises `LabError` kinds."""
    folder = Folder(hub.locate(name, weights=weights, download=download), options=options)
    given = copy.parts_of(folder.path, parts or {})
    with _reading(folder, CONFIG):
        family = family_of(folder, name)
        own = family.parts(folder)
        if not all(where is None or isinstance(where, str) for where in cast(Mapping[str, object], own).values()):
            raise TypeError(f"where its parts are: {own}")
    for option in folder.options:
        if option not in family.options:
            raise BadSetting(f"{option}: {folder.path} of the {family.name} family has no such option; leave it away")
    listed = hub.listed(name)
    wanted = {**own, **(listed.part_hubs if listed else {})}
    for part in given:
        if part not in wanted:
            there = ", ".join(map(flag, wanted)) or "nothing else"
            raise BadSetting(f"{flag(part)}: {folder.path} of the {family.name} family needs {there}; leave it away")
    return hub.parts(folder, wanted, given, download=download), family


@contextmanager
def _reading(folder: Folder, *files: str) -> Generator[None]:
    """Says in one line what settings of a wrong kind or size end in. Raises `BadConfig`.

    files: those that are read, in the model's folder and in those of its parts.
    """
    try:
        yield
    except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RuntimeError, MemoryError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        read = [one.path / file for one in (folder, *folder.parts.values()) for file in files]
        there = " or ".join(str(file) for file in read if file.is_file())
        raise BadConfig(f"{there or folder.path}: not a usable configuration ({reason})") from error


def family_of(folder: Folder, name: str) -> Family:
    """The folder's family. Raises `BadSetting` where the name is listed in another one.

    Files converted to another family's layout are refused too: they give other answers, and have a name of their own.
    """
    family = families.of(folder)
    listed = hub.listed(name)
    if listed and families.listing(listed) is not family:
        raise BadSetting(
            f"{folder.path} is of the {family.name} family, {listed.name} of the {families.listing(listed).name} family: "
            f"give {listed.name} its own files with --weights DIR, or name this folder itself with --model"
        )
    return family
