"""Settings of a wrong kind or size, in whatever file and family, end in one line that says where they stand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import flamingo_lab as fl
from flamingo_lab import errors
from flamingo_lab.errors import BadConfig, LabError
from tests.families import tiny_open_flamingo
from tests.families.test_null_settings import WRITERS
from tests.families.tiny_llava import edit, picture, write
from tests.families.tiny_llava_parts import write_adapters

WRONG = ("big", {"a": 1}, 10**30)
"""Of kinds that no setting is of, and a count of nothing that can be built."""

UNREAD = ("tokenizer.json", "vocab.json", "model.safetensors.index.json")
"""Files of another kind than settings."""


def folders_of(root: Path) -> dict[str, Path]:
    """The further folders that a family's writer puts beside the model's, which is the first one here."""
    names = {"model": "path", "clip": "vision", "vision": "vision", "language_model": "language_model"}
    return {part: root / name for name, part in names.items() if (root / name).is_dir()}


def write_open_flamingo(root: Path) -> None:
    tiny_open_flamingo.write_checkpoint(root, "mpt", seed=0)
    (root / "checkpoint").rename(root / "model")


def changed(sound: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The settings with one of them wrong, on top or one level below."""
    for key, held in sound.items():
        inner: dict[str, Any] = held if isinstance(held, dict) else {}
        for value in WRONG:
            yield sound | {key: value}
            yield from (sound | {key: inner | {below: value}} for below in inner)


@pytest.mark.parametrize("family", [*WRITERS, "open_flamingo"])
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_settings_of_a_wrong_kind_end_in_one_line(family: str, tmp_path: Path) -> None:
    """And what loads answers, or says in one line why it cannot."""
    WRITERS.get(family, write_open_flamingo)(tmp_path)
    folders: dict[str, Any] = folders_of(tmp_path)
    question = fl.Request("q", fl.Prompt.ask(picture(0, (24, 20)), "what is it?"), max_new_tokens=1)
    fl.load(**folders)
    refused = 0
    for file in (file for file in tmp_path.rglob("*.json") if file.name not in UNREAD):
        sound = json.loads(file.read_text())
        for wrong in changed(sound):
            file.write_text(json.dumps(wrong))
            try:
                (answer,) = fl.load(**folders, dtype="float32", device="cpu").answers([question])
            except LabError as error:
                assert "\n" not in str(error)
                refused += 1
            else:
                assert answer.error is None or hasattr(errors, answer.error.kind), (answer.error, wrong)
        file.write_text(json.dumps(sound))
    assert refused > 20


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("adapter_config.json", {"r": 0}),
        ("adapter_config.json", {"lora_alpha": "much"}),
        ("generation_config.json", {"eos_token_id": "</s>"}),
    ],
)
def test_the_file_that_is_wrong_is_named(file: str, changes: dict[str, Any], tmp_path: Path) -> None:
    tiny = write(tmp_path)
    lora = write_adapters(tiny, tmp_path)
    home = lora.folder if (lora.folder / file).is_file() else lora.base
    edit(home / file, **changes)
    with pytest.raises(BadConfig, match=f"{home / file}|{home}: eos_token_id"):
        fl.load(lora.folder, vision=tiny.vision, base=lora.base)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_hidden_layers": 10**30}, "layers is 10+; a whole number from 1 to"),
        ({"num_hidden_layers": 1001}, "1001 layers; 1000 at most are expected"),
        ({"mm_projector_type": "mlp999999999x_gelu"}, "'mlp999999999x_gelu' is none of"),
    ],
)
def test_more_layers_than_can_be_are_not_built(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    tiny = write(tmp_path)
    edit(tiny.path / "config.json", **changes)
    with pytest.raises(BadConfig, match=reason):
        tiny.load()
