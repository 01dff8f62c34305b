"""What a family is: data and small functions of its published files. No forward pass. Needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flamingo_lab.config import Architecture
from flamingo_lab.errors import BadCheckpoint, BadConfig
from flamingo_lab.files import COPIED, read_json
from flamingo_lab.markup import Finish, Markup
from flamingo_lab.model import BeamCounts
from flamingo_lab.pixels import Pipeline
from flamingo_lab.tokens import Tokenizer
from flamingo_lab.wording import Wording

if TYPE_CHECKING:
    from flamingo_lab.checkpoint import Checkpoint, Tensors
    from flamingo_lab.weights import Rules

BUNDLED = Path(__file__).parent / "bundled"
"""Where models that this package ships have their folders."""

MAIN = "path"
"""The name of the folder that is given first, among the parts of a model."""


@dataclass(frozen=True)
class Size:
    """A listed model: its name, where it is published, and how many parameters it is published to have.

    `config` gives the published layout where no file is at hand, so that the full-size model can be built on the meta
    device; `part_configs` the same for parts in other repositories; `part_hubs`: where these are published, as far as the
    model's own files do not say so. `bundled`: its folder in `BUNDLED`, where this package ships it. `wording` is what its
    authors evaluate it with, and `recommended` how they decode: options of `flab eval`, by what is asked.
    """

    name: str
    parameters: int
    config: Mapping[str, Any]
    wording: str
    hub: str | None = None
    bundled: str | None = None
    licence: str = ""
    part_configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    part_hubs: Mapping[str, str] = field(default_factory=dict[str, str])
    recommended: Mapping[str, str] = field(default_factory=dict[str, str])


class Folder:
    """A folder of published files, and the further folders in which a family keeps parts of a model.

    With `config` given it is a listed model without files: `config.json` is what the listing says. `options`: what the
    loader was told of a model whose files do not say all.
    """

    def __init__(
        self,
        path: Path,
        parts: Mapping[str, Folder] | None = None,
        config: Mapping[str, Any] | None = None,
        options: Mapping[str, int] | None = None,
    ) -> None:
        self.path = path
        self.parts = parts or {}
        self.options = options or {}
        self._config = config

    @classmethod
    def listed(cls, size: Size) -> Folder:
        """A listed model, without its files."""
        parts = {name: cls(Path(name), config=config) for name, config in size.part_configs.items()}
        return cls(Path(size.name), parts, size.config)

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """`config.json` without its keys that are null, as if they were absent; empty where there is none."""
        if self._config is not None:
            return self._config
        return {key: value for key, value in self.json("config.json").items() if value is not None}

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The headers of the folder's weights; none for a listed model."""
        from flamingo_lab import checkpoint

        return checkpoint.Checkpoint(self.path, (), {}) if self._config else checkpoint.open_folder(self.path)

    def shape(self, tensor: str) -> tuple[int, ...] | None:
        """The shape of a published tensor, None where there is none of that name."""
        return self.checkpoint[tensor].shape if tensor in self.checkpoint else None

    def has(self, file: str) -> bool:
        """Whether there is a file of this name."""
        return self._config is None and ((self.path / file).is_file() or file in self._stood_for)

    @cached_property
    def _stood_for(self) -> frozenset[str]:
        """The files of weights in whose place a quantised copy has its own."""
        copied = self.path / COPIED
        return frozenset(read_json(copied).get("weights", ()) if copied.is_file() else ())

    def json(self, file: str) -> dict[str, Any]:
        """A JSON object from a file, empty where there is no such file."""
        return read_json(self.path / file) if self._config is None and (self.path / file).is_file() else {}

    def part(self, name: str) -> Folder:
        """The folder of a part that is kept elsewhere."""
        if name not in self.parts:
            raise BadCheckpoint(
                f"{self.path}: its {name.replace('_', ' ')} is in another folder; name it with {flag(name)}"
            )
        return self.parts[name]


def flag(part: str) -> str:
    """The command line's option for a part's folder."""
    return f"--{part.replace('_', '-')} DIR"


def plain_sources(folder: Folder, rules: Mapping[str, Rules]) -> Mapping[str, Tensors]:
    """Each part's tensors as they stand in its own folder."""
    return {name: folder.checkpoint if name == MAIN else folder.part(name).checkpoint for name in rules}


def stated_eos(folder: Folder) -> tuple[int, ...]:
    """The ids at which transformers' `generate` ends an answer, as `generation_config.json` says, config.json without it."""
    stated = folder.json("generation_config.json").get("eos_token_id", folder.config.get("eos_token_id"))
    held = stated if isinstance(stated, list) else [] if stated is None else [stated]
    if not all(isinstance(one, int) for one in held):
        raise BadConfig(f"{folder.path}: eos_token_id {stated!r} is no token's id")
    return tuple(held)


@dataclass(frozen=True)
class Family:
    """All that makes a family of published checkpoints; every function takes the model's `Folder`.

    - `matches`: whether the folder is this family's.
    - `parts`: for each further folder that the model takes, where it is by default: a path inside the folder (which
      begins with "./") or a repository of the hub; None where it may be given and is not needed, or has to be given.
    - `options`: names of what the loader may be told of a folder (`Folder.options`).
    - `architecture`; `rules`, by part; `tensors` by part, where they are not the files' own (deltas, adapters).
    - `pipeline`, `tokenizer`, `markup`: pictures to pixels, text to ids, and how the two become one sequence.
    - `wordings` by name, and `wording`, which names the folder's own. A wording holds its stop rules.
    - `eos`: ids at which an answer ends in any wording, where the authors' code takes them from the files (`stated_eos`).
    - `forbidden`: tokens that an answer never holds; `beam_counts`: what the authors' beam search counts as a length.
    - `answers_apart`: whether an answer's beginning is encoded by itself, behind the prompt's last token.
    - `boxes`: the notation in which its models write boxes, a variant of the metric `iou`; empty where they write none.
    - `finish`: what is done to an answer's ids before they are decoded, None for nothing.
    - `poor_in`: dtypes, by name, in which its models are known to do badly, and what is known.
    """

    name: str
    title: str
    paper: str
    matches: Callable[[Folder], bool]
    architecture: Callable[[Folder], Architecture]
    rules: Callable[[Folder, Architecture], Mapping[str, Rules]]
    pipeline: Callable[[Folder, Architecture], Pipeline]
    tokenizer: Callable[[Folder], Tokenizer]
    markup: Callable[[Folder], Markup]
    wordings: Mapping[str, Wording]
    wording: Callable[[Folder], str]
    sizes: tuple[Size, ...]
    parts: Callable[[Folder], Mapping[str, str | None]] = lambda folder: {}
    tensors: Callable[[Folder, Mapping[str, Rules]], Mapping[str, Tensors]] = plain_sources
    eos: Callable[[Folder], Iterable[int]] = lambda folder: ()
    forbidden: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    beam_counts: BeamCounts = "new"
    answers_apart: bool = False
    boxes: str = ""
    finish: Callable[[Folder], Finish | None] = lambda folder: None
    poor_in: Mapping[str, str] = field(default_factory=dict[str, str])
