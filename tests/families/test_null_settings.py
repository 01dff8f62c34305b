"""A key of config.json that is null says no more and no less than one that is absent."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from flamingo_lab import understanding
from flamingo_lab.errors import LabError
from tests.families import tiny_fuyu, tiny_idefics, tiny_moe_llava, tiny_qwen_vl, tiny_yi_vl
from tests.families.test_llava_bad_input import CONVERTED
from tests.families.tiny_llava import ANYRES, TOWER, write, write_converted


def made(root: Path) -> Path:
    """The model's folder, for writers that want it to be there."""
    (root / "model").mkdir()
    return root / "model"


WRITERS: Mapping[str, Callable[[Path], Any]] = {
    "llava": lambda root: write(root),
    "llava tiled": lambda root: write(root, ANYRES),
    "llava_hf": lambda root: write_converted(made(root), CONVERTED, TOWER, seed=0),
    "yi_vl": lambda root: tiny_yi_vl.write_checkpoint(made(root)),
    "moe_llava": lambda root: tiny_moe_llava.write_checkpoint(root),
    "fuyu": lambda root: tiny_fuyu.write_checkpoint(made(root), {}, 0),
    "idefics": lambda root: tiny_idefics.write_checkpoint(made(root), {}, 0),
    "qwen_vl": lambda root: tiny_qwen_vl.write_checkpoint(made(root), seed=0),
}

ELSEWHERE = (
    "image_projector_type",
    "mm_hidden_size",
    "mm_patch_merge_type",
    "mm_projector_type",
    "moe",
    "object_mm_projector_type",
    "text_config",
    "train_mask_decoder",
    "vision_config",
    "visual",
)
"""Keys by which families know their own folders, or that stand in published files and not in all of the tiny ones."""


def understood(root: Path, config: Mapping[str, Any]) -> object:
    """What a folder with this config.json is, or the one line that says why not."""
    (root / "model" / "config.json").write_text(json.dumps(config))
    towers = [part for part in (root / "clip", root / "vision") if part.is_dir()]
    parts = dict(zip(("vision",), towers, strict=False))
    try:
        found = understanding.understand(str(root / "model"), parts=parts)
    except LabError as error:
        return str(error)
    return found.family.name, found.vlm.architecture, found.family.wording(found.folder)


@pytest.mark.parametrize("family", WRITERS)
def test_null_is_absent(family: str, tmp_path: Path) -> None:
    WRITERS[family](tmp_path)
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert isinstance(understood(tmp_path, config), tuple)
    for key in sorted({*config, *ELSEWHERE}):
        absent = {name: value for name, value in config.items() if name != key}
        assert understood(tmp_path, absent | {key: None}) == understood(tmp_path, absent), key
