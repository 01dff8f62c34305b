"""The sparse checkpoints of `benchmarks/full_size.py`: published layout, and the answers of their first layers."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import flamingo_lab as fl
from flamingo_lab import checkpoint, hub
from flamingo_lab.cli import run
from tests.folders import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import full_size

SMALL: dict[str, Any] = {
    "model_type": "idefics",
    "vocab_size": 640,
    "additional_vocab_size": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 2,
    "num_hidden_layers": 12,
    "cross_layer_interval": 4,
    "qk_layer_norms": True,
    "use_resampler": True,
    "vision_config": {"embed_dim": 12, "image_size": 12, "patch_size": 6, "intermediate_size": 20}
    | {"num_attention_heads": 2, "num_hidden_layers": 2},
    "perceiver_config": {"qk_layer_norms_perceiver": True, "resampler_depth": 2, "resampler_head_dim": 6}
    | {"resampler_n_heads": 2, "resampler_n_latents": 3},
}


@pytest.mark.parametrize(
    ("name", "tensors", "sizes"), [("idefics-9b", 1015, [9.97, 7.89]), ("idefics-80b", 1603, None)]
)
def test_published_sizes_are_cut_as_published(name: str, tensors: int, sizes: list[float] | None) -> None:
    """Numbers of tensors and sizes of shards as the model card's repository has them."""
    listed = hub.listed(name)
    assert listed is not None
    shapes = full_size.shapes(listed.config)
    assert len(shapes) == tensors
    cut = full_size.shards(shapes)
    assert sum(shard.nbytes for shard in cut) == 2 * listed.parameters
    assert max(shard.nbytes for shard in cut) <= full_size.SHARD_BYTES
    if sizes is not None:
        assert [round(shard.nbytes / 1e9, 2) for shard in cut] == sizes
        assert cut[0].name == "model-00001-of-00002.safetensors"


def test_a_sparse_checkpoint_is_whole_and_answers_as_its_first_layers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, few = tmp_path / "whole", tmp_path / "few"
    cut = full_size.write(whole, SMALL, most=30_000)
    assert len(cut) > 3
    assert run(["check", str(whole), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["loads"] and told["tensors"] == len(checkpoint.open_folder(whole))
    full_size.write(few, full_size.first_layers(SMALL))
    answers = [
        next(iter(fl.load(folder, dtype="float32", device="cpu", offload=is_offloaded).answers([full_size.question()])))
        for folder, is_offloaded in ((whole, False), (whole, True), (few, False))
    ]
    assert all(one.error is None and len(one.token_ids) == full_size.NEW_TOKENS for one in answers)
    assert len({one.token_ids for one in answers}) == 1
    assert answers[0].logprob == pytest.approx(answers[2].logprob, abs=1e-5)
    assert answers[1].logprob == pytest.approx(answers[2].logprob, abs=1e-5)


def test_the_answer_depends_on_the_pictures_and_on_every_part_with_values(tmp_path: Path) -> None:
    """Otherwise that of the first layers would say nothing."""
    full_size.write(tmp_path, SMALL)
    model = fl.load(tmp_path, dtype="float32", device="cpu")
    assert isinstance(model, fl.LoadedModel)
    first = model.generate(full_size.question().prompt).logprob
    for part in (model.vlm.decoder.layers[0].mlp.down, model.vlm.blocks[0].attention.out, model.vlm.connector.latents):
        weight = part if part is model.vlm.connector.latents else part.weight
        kept = weight.data
        weight.data = kept * -1
        assert model.generate(full_size.question().prompt).logprob != pytest.approx(first, abs=1e-6)
        weight.data = kept
