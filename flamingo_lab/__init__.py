"""Open vision-language models from their published files, on one core.

>>> import flamingo_lab as fl
>>> model = fl.load("flamingo-tiny")
>>> model.answer(fl.Image("circle.png"), "what shape is in the image?").text
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flamingo_lab.errors import LabError as LabError
    from flamingo_lab.loaded import LoadedModel as LoadedModel
    from flamingo_lab.loading import load as load
    from flamingo_lab.model import Answer as Answer
    from flamingo_lab.model import Beam as Beam
    from flamingo_lab.model import Decoding as Decoding
    from flamingo_lab.model import Greedy as Greedy
    from flamingo_lab.model import Model as Model
    from flamingo_lab.model import Rank as Rank
    from flamingo_lab.model import Request as Request
    from flamingo_lab.model import Sample as Sample
    from flamingo_lab.prompt import Image as Image
    from flamingo_lab.prompt import Prompt as Prompt
    from flamingo_lab.prompt import Shot as Shot
    from flamingo_lab.prompt import Turn as Turn

__version__ = "0.1.0"

_HOMES = {
    "LabError": "errors",
    "LoadedModel": "loaded",
    "load": "loading",
    **dict.fromkeys(("Answer", "Beam", "Decoding", "Greedy", "Model", "Rank", "Request", "Sample"), "model"),
    **dict.fromkeys(("Image", "Prompt", "Shot", "Turn"), "prompt"),
}
"""Where each public name lives. Read on first use, so that `import flamingo_lab` needs no torch."""

__all__ = [*_HOMES]  # pyright: ignore[reportUnsupportedDunderAll] - the names come from __getattr__


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
