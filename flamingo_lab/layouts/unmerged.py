"""Folders that hold less than a model, and the base that makes them one: LoRA adapters, a projector alone, a delta.

As haotian-liu/LLaVA reads them (llava/model/builder.py, apply_delta.py). Its loader asks the folder's name which of them it
is; here its files are looked at.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from flamingo_lab.errors import BadCheckpoint, BadConfig
from flamingo_lab.family import Folder, flag

if TYPE_CHECKING:
    from flamingo_lab.checkpoint import Checkpoint, Tensors

ADAPTER, REST, PROJECTOR = "adapter_model", "non_lora_trainables.bin", "mm_projector.bin"
FULL = ("*.safetensors", "pytorch_model*.bin")
HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
DELTA_NORM = 0.1
"""Below this mean size of the last norm's weights, which are near one in any LLaMA, a folder holds differences."""

NORM = "model.norm.weight"
NEAR = 0.5
"""How far a whole model's last norm may be from its base's, as a share of that norm."""

VOCABULARY = ("model.embed_tokens.weight", "lm_head.weight")
"""Where a delta has rows for tokens that its base lacks."""

UNKNOWN_LORA = ("fan_in_fan_out", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "modules_to_save")
"""Settings that change how adapters are merged, most of them of later ones."""


def is_adapter(folder: Folder) -> bool:
    """Whether the folder holds LoRA adapters, to be merged into a base."""
    return folder.has("adapter_config.json")


def is_projector(folder: Folder) -> bool:
    """Whether the folder holds a projector alone, to be put beside a base."""
    full = (file for form in FULL for file in folder.path.glob(form))
    return not is_adapter(folder) and folder.has(PROJECTOR) and not any(full)


def is_delta(folder: Folder) -> bool:
    """Whether the folder holds differences to a base (LLaVA-1's first releases).

    With a base given, all that is not near it: a whole model's norms stay where its base's are.
    """
    if is_adapter(folder) or is_projector(folder) or NORM not in folder.checkpoint:
        return False
    own = folder.checkpoint.tensor(NORM).float()
    if own.abs().mean() < DELTA_NORM:
        return True
    if "base" not in folder.parts or NORM not in folder.part("base").checkpoint:
        return False
    other = folder.part("base").checkpoint.tensor(NORM).float()
    return other.shape == own.shape and bool((own - other).abs().mean() > NEAR * other.abs().mean())


def needs_base(folder: Folder) -> bool:
    """Whether the folder is a model only together with another one."""
    return is_adapter(folder) or is_projector(folder) or is_delta(folder)


def base_of(folder: Folder) -> str | None:
    """The base's repository where the files name one. A delta's is LLaMA itself, which its owner did not put on the hub."""
    if is_delta(folder):
        return None
    named = folder.json("adapter_config.json").get("base_model_name_or_path")
    return repository(named) or repository(folder.config.get("_name_or_path"))


def repository(name: object) -> str | None:
    """A repository of the hub, or a place within the folder; None for a path on its author's machine."""
    is_known = isinstance(name, str) and (name.startswith("./") or HUB_NAME.fullmatch(name))
    return str(name) if is_known else None


def base(folder: Folder) -> Folder:
    """The base's folder. Raises `BadCheckpoint` where none is given."""
    if "base" not in folder.parts:
        kind = "a projector" if is_projector(folder) else "adapters" if is_adapter(folder) else "differences to LLaMA"
        raise BadCheckpoint(f"{folder.path}: holds {kind}, not a whole model; name its base with {flag('base')}")
    return folder.part("base")


def merged(folder: Folder) -> Tensors:
    """The tensors of base and adapters, base and projector, or base and delta put together."""
    from flamingo_lab.merging import Added, Joined

    whole = base(folder).checkpoint
    if is_adapter(folder):
        return _adapted(folder, whole)
    if is_projector(folder):
        return Joined((whole, _open(folder.path / PROJECTOR)))
    return Added(whole, folder.checkpoint, grown=VOCABULARY, alone="model.mm_projector.")


def _adapted(folder: Folder, whole: Checkpoint) -> Tensors:
    from flamingo_lab.layouts import reading
    from flamingo_lab.merging import Adapted, Joined, Renamed

    settings = folder.json("adapter_config.json")
    unknown = next((key for key in UNKNOWN_LORA if settings.get(key)), None)
    if unknown:
        raise BadConfig(f"{folder.path / 'adapter_config.json'}: {unknown} {settings[unknown]!r} is not known")
    form = "safetensors" if folder.has(f"{ADAPTER}.safetensors") else "bin"
    with reading("adapter_config.json"):
        scale = settings["lora_alpha"] / settings["r"]
    adapted = Adapted(whole, _open(folder.path / f"{ADAPTER}.{form}"), scale, "base_model.model.")
    rest = _open(folder.path / REST)
    is_deep = any(name.removeprefix("base_model.").startswith("model.model.") for name in rest)

    def own_name(name: str) -> str:
        """What the authors' loader makes of a name beside the adapters."""
        name = name.removeprefix("base_model.")
        return name.removeprefix("model.") if is_deep else name

    return Joined((adapted, Renamed(rest, own_name)))


def _open(file: Path) -> Checkpoint:
    from flamingo_lab import checkpoint

    if not file.is_file():
        raise BadCheckpoint(f"{file}: missing; the folder is not a complete checkpoint")
    return checkpoint.open_file(file)
