"""What pictures look like, as vectors of the model's own tower: the features by which similar pictures are found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from flamingo_lab.engine.budget import VIEWS
from flamingo_lab.errors import BadSetting
from flamingo_lab.prompt import THREADS, Image

if TYPE_CHECKING:
    from flamingo_lab.loaded import LoadedModel
    from flamingo_lab.nn.vit import VisionTower


def embed(model: LoadedModel, images: Sequence[Image]) -> NDArray[np.float32]:
    """A vector of length 1 a picture, (images, width), so that inner products are cosines. See `VisionTower.pooled`.

    A picture that the model takes in several views is known by the first one, which shows the whole of it.
    """
    tower = tower_of(model)
    found: list[NDArray[np.float32]] = []
    with ThreadPoolExecutor(THREADS) as pool, torch.inference_mode():
        for start in range(0, len(images), VIEWS):
            views = pool.map(lambda image: model.pipeline(image.load())[0], images[start : start + VIEWS])
            pixels = torch.from_numpy(np.stack(list(views))).to(model.vlm.device, model.vlm.dtype)
            vectors = torch.nn.functional.normalize(tower.pooled(pixels).float(), dim=-1)
            found.append(vectors.cpu().numpy())
    return np.concatenate(found) if found else np.empty((0, 0), np.float32)


def digest(model: LoadedModel) -> str:
    """Hex SHA-256 over the tower's tensors and how pictures reach it; equal for all models with the same tower."""
    import PIL

    tower = tower_of(model)
    built = replace(
        tower.config, reads_layer=-1, drops_first=False
    )  # which layer answers are made from is another matter
    how = [repr(built), repr(model.pipeline), str(model.vlm.dtype), PIL.__version__]
    digest = hashlib.sha256(json.dumps(how).encode())
    for name in sorted(name for name, _ in tower.named_parameters()):
        digest.update(name.encode())
        digest.update(model.weight(f"tower.{name}").detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tower_of(model: LoadedModel) -> VisionTower:
    """The model's tower. Raises `BadSetting` where it has none."""
    if model.vlm.tower is None:
        raise BadSetting(f"{model.name} has no vision tower, so it cannot say which pictures are similar")
    return model.vlm.tower
