"""Tiny LLaVA models in parts, as some of them are published: a delta, adapters, a plain language model, shards."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import flamingo_lab as fl
from tests.families.tiny_llava import Tiny, edit, picture, projector_tensors, save

Tensors = dict[str, Tensor]


class Parts(NamedTuple):
    """A folder that is less than a model, its base, and the tensors that both together have to give."""

    folder: Path
    base: Path
    merged: Tensors


def parameters(model: fl.LoadedModel) -> Tensors:
    return dict(model.vlm.named_parameters())


def assert_same(found: fl.LoadedModel, expected: fl.LoadedModel, atol: float = 1e-5) -> None:
    """The same model in every weight, in its words and in its answer."""
    assert found.vlm.architecture == expected.vlm.architecture
    assert found.renderer.wording == expected.renderer.wording and found.pipeline == expected.pipeline
    ours, theirs = parameters(found), parameters(expected)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=atol, rtol=0, msg=name)
    answers = [model.answer(picture(0), "what is it?", max_new_tokens=4) for model in (found, expected)]
    assert answers[0].token_ids == answers[1].token_ids
    assert answers[0].logprob == pytest.approx(answers[1].logprob, abs=1e-3)


def language_model(tiny: Tiny, folder: Path, tensors: Tensors | None = None) -> Path:
    """A plain LLaMA's folder, with the tokenizer."""
    save(folder, tiny.decoder.state_dict() if tensors is None else tensors)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(tiny.path / name, folder / name)
    return folder


def incomplete(tiny: Tiny, folder: Path, **config: Any) -> Path:
    """A folder with the configuration of the whole one, and neither weights nor a tokenizer."""
    folder.mkdir()
    shutil.copy(tiny.path / "config.json", folder / "config.json")
    edit(folder / "config.json", **config)
    return folder


def write_delta(tiny: Tiny, root: Path) -> Parts:
    """The whole model as differences to a random base with as large a last norm, as fine-tuning leaves it."""
    whole = load_file(tiny.path / "model.safetensors")
    base = {name: torch.randn_like(tensor) for name, tensor in tiny.decoder.state_dict().items()}
    base["model.norm.weight"] = whole["model.norm.weight"] + 0.02
    folder = shutil.copytree(tiny.path, root / "delta")
    save(folder, {name: tensor - base[name] if name in base else tensor for name, tensor in whole.items()})
    return Parts(folder, language_model(tiny, root / "llama", base), whole)


def write_adapters(tiny: Tiny, root: Path) -> Parts:
    """Adapters of three kinds of layers with scale 2 in `adapter_model.bin`, and the projector beside them."""
    base = tiny.decoder.state_dict()
    merged, adapters = dict(base), {}
    for name, tensor in base.items():
        if any(f"{part}_proj" in name for part in ("q", "down", "gate")):
            up, down = torch.randn(tensor.shape[0], 3), torch.randn(3, tensor.shape[1])
            at = f"base_model.model.{name.removesuffix('.weight')}"
            adapters |= {f"{at}.lora_A.weight": down, f"{at}.lora_B.weight": up}
            merged[name] = (tensor.double() + 2 * up.double() @ down.double()).float()
    folder = incomplete(tiny, root / "adapters")
    settings = {"r": 3, "lora_alpha": 6, "base_model_name_or_path": "nobody/no-such-vicuna", "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    torch.save(adapters, folder / "adapter_model.bin")
    rest = {f"base_model.model.{name}": tensor for name, tensor in projector_tensors(tiny, "mlp2x_gelu").items()}
    torch.save(rest, folder / "non_lora_trainables.bin")
    return Parts(folder, language_model(tiny, root / "vicuna"), merged)


def shards(tensors: Tensors, folder: Path, form: str) -> None:
    """Three shards with tensors strewn over them at random."""
    draw = random.Random(0)
    names = [
        f"model-{number}.safetensors" if form == "safetensors" else f"pytorch_model-{number}.bin" for number in "213"
    ]
    where = {name: draw.choice(names) for name in draw.sample(sorted(tensors), len(tensors))}
    for file in names:
        held = {name: tensors[name].clone() for name in where if where[name] == file}
        save_file(held, folder / file) if form == "safetensors" else torch.save(held, folder / file)
    index = "model.safetensors.index.json" if form == "safetensors" else "pytorch_model.bin.index.json"
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": where}))
