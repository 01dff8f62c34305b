"""A published processor for pictures and text alone: without torchvision, and without its parts for video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

from flamingo_lab.errors import BadCheckpoint
from flamingo_lab.files import read_json

HOW = {"local_files_only": True, "trust_remote_code": False}
"""How every part is read: nothing is fetched, and no code but transformers' own is run."""

NAMING_FILES = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
"""Where a folder may name its processor's class, in the order in which transformers looks."""


class NoVideo(transformers.ImageProcessingMixin):
    """Stands where a processor insists on a part for video, which would need torchvision."""

    model_input_names: list[str] = []  # noqa: RUF012 - as transformers declares it


def load(folder: Path, config: Any) -> Any:
    """The processor of a folder. Its pictures are prepared by Pillow, wherever transformers has such a class.

    Raises `BadCheckpoint` where nothing says which class it is; transformers' own errors for damaged files.
    """
    published = _class(folder, config)
    # transformers tells parts apart by classes which need torchvision; these here are of the right kind.
    kind = type(published.__name__, (published,), {"check_argument_for_proper_class": lambda self, name, part: None})
    settings, _ = kind.get_processor_dict(folder, **HOW)
    parts = [_part(kind, name, folder) for name in kind.get_attributes()]
    return kind.from_args_and_dict(parts, settings)


def _part(kind: Any, name: str, folder: Path) -> Any:
    if "tokenizer" in name:  # some processors have a second one, in a folder of its own
        return kind._load_tokenizer_from_pretrained(name, folder, **HOW)
    if name == "video_processor":
        return NoVideo()
    if name == "image_processor":
        return _repaired(transformers.AutoImageProcessor.from_pretrained(folder, backend="pil", **HOW))
    return transformers.AutoFeatureExtractor.from_pretrained(folder, **HOW)


def _repaired(found: Any) -> Any:
    """The image processor; Fuyu's takes the tensor that it is handed for an array (transformers 5.23), and would fail."""
    kind = type(found)
    if kind.__name__ == "FuyuImageProcessorPil":

        def cut(self: Any, image: Any, patch_size: Any = None) -> Any:
            return torch.from_numpy(kind.patchify_image(self, np.asarray(image), patch_size))

        found.__class__ = type(kind.__name__, (kind,), {"patchify_image": cut})
    return found


def _class(folder: Path, config: Any) -> Any:
    """The processor's class: the one that the folder's files name, else the one that its kind of model has."""
    files = (folder / name for name in NAMING_FILES)
    named = next((name for file in files if file.is_file() if (name := read_json(file).get("processor_class"))), None)
    found = getattr(transformers, named, None) if isinstance(named, str) else None
    if found is None and type(config) in PROCESSOR_MAPPING:
        found = PROCESSOR_MAPPING[type(config)]
    if found is None:
        names = ", ".join(NAMING_FILES)
        raise BadCheckpoint(f"{folder}: nothing says which processor it needs; one of {names} is missing or too old")
    return found
