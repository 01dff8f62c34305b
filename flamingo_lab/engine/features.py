"""Picture tokens on disk between runs. A cache: whatever goes wrong with it costs time and nothing else."""

from __future__ import annotations

import hashlib
import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from flamingo_lab.notes import note

if TYPE_CHECKING:
    from flamingo_lab.loaded import LoadedModel

TOKENS = "tokens"


class FeatureCache:
    """FOLDER/KEY/DIGEST.safetensors, one file a picture. The key names what encodes: weights, pre-processing, dtype."""

    def __init__(self, folder: Path, model: LoadedModel) -> None:
        self._folder = folder
        self._model = model
        self._is_usable = True

    @cached_property
    def _home(self) -> Path:
        home = self._folder / key(self._model)
        if self._folder.is_dir() and not home.is_dir() and any(one.is_dir() for one in self._folder.iterdir()):
            note(f"{self._folder} holds pictures' features of other weights or pre-processing; they are left alone")
        return home

    def get(self, digest: str) -> torch.Tensor | None:
        """The tokens of a picture, None where they are not there."""
        if not self._is_usable:
            return None
        try:
            return load_file(self._home / f"{digest}.safetensors")[TOKENS].to(self._model.vlm.device)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._go_on_without("read", error)
        except (SafetensorError, KeyError, ValueError):
            note(f"{self._home}: damaged files are made again")
        return None

    def put(self, digest: str, tokens: torch.Tensor) -> None:
        """Keep a picture's tokens, whole or not at all."""
        if not self._is_usable:
            return
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._home, delete=False) as stream:
                try:
                    stream.write(save({TOKENS: tokens.cpu().contiguous()}))
                    stream.close()
                    Path(stream.name).replace(self._home / f"{digest}.safetensors")
                except BaseException:
                    Path(stream.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            self._go_on_without("kept", error)

    def _go_on_without(self, done: str, error: OSError) -> None:
        """Neither read nor keep anything more, and say why."""
        self._is_usable = False
        note(f"{self._folder}: pictures' features cannot be {done} ({error.strerror or error}); going on without")


@torch.inference_mode()
def key(model: LoadedModel) -> str:
    """Names all that decides a picture's tokens."""
    vlm = model.vlm
    built = vlm.architecture
    digest = hashlib.sha256(f"{built.vision!r} {built.connector!r} {built.tiling!r} {model.pipeline!r}".encode())
    names = [name for name, _ in vlm.named_parameters() if name.startswith(("tower.", "connector.", "newline"))]
    for name in names:
        parameter = model.weight(name)
        digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}".encode())
        digest.update(parameter.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
