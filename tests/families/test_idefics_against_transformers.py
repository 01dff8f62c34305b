"""Equal to transformers' `IdeficsForVisionText2Text` on random tiny configurations, and to its processor on prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as pil

import flamingo_lab as fl
from flamingo_lab.engine import reference
from flamingo_lab.engine.plan import Job, job
from tests.batches import left_padded, logits_together
from tests.families.tiny_idefics import EXTRA, IMAGE_PX, write_checkpoint

TEXTS = ("a red car", "two dogs on the sofa", "what is it?\n", "x", "an old tree near the river was")


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    head = 2 * draw(st.integers(2, 4))
    heads = draw(st.integers(1, 3))
    vision_heads = draw(st.integers(1, 3))
    interval = draw(st.integers(1, 3))
    return {
        "additional_vocab_size": EXTRA,
        "hidden_size": head * heads,
        "num_attention_heads": heads,
        "intermediate_size": draw(st.integers(8, 40)),
        "num_hidden_layers": interval * draw(st.integers(1, 2)),
        "cross_layer_interval": interval,
        "qk_layer_norms": draw(st.booleans()),
        "use_resampler": draw(st.booleans()),
        "alpha_type": draw(st.sampled_from(["float", "vector"])),
        "rms_norm_eps": draw(st.sampled_from([1e-6, 1e-5])),
        "tie_word_embeddings": draw(st.booleans()),
        "max_position_embeddings": 256,
        "vision_config": {
            "embed_dim": 4 * vision_heads * draw(st.integers(1, 3)),
            "image_size": IMAGE_PX,
            "patch_size": draw(st.sampled_from([6, 12])),
            "intermediate_size": draw(st.integers(8, 30)),
            "num_attention_heads": vision_heads,
            "num_hidden_layers": draw(st.integers(1, 2)),
        },
        "perceiver_config": {
            "qk_layer_norms_perceiver": draw(st.booleans()),
            "resampler_depth": draw(st.integers(1, 2)),
            "resampler_head_dim": draw(st.integers(4, 10)),
            "resampler_n_heads": draw(st.integers(1, 3)),
            "resampler_n_latents": draw(st.integers(1, 5)),
        },
    }


def picture(seed: int) -> fl.Image:
    random = np.random.default_rng(seed)
    shape = (int(random.integers(5, 40)), int(random.integers(5, 40)), 3)
    return fl.Image(pil.fromarray(random.integers(0, 256, shape, dtype=np.uint8)))


def parts(kinds: str, seed: int) -> list[fl.Image | str]:
    """`i` a picture, `t` a text."""
    return [picture(seed + n) if kind == "i" else TEXTS[(seed + n) % len(TEXTS)] for n, kind in enumerate(kinds)]


PROMPTS = st.lists(st.text("it", min_size=1, max_size=5).filter(lambda kinds: "t" in kinds), min_size=1, max_size=3)
"""Rows of one batch: with several and adjacent pictures, text before the first one, and none at all."""


def theirs(model: Any, jobs: list[Job], loaded: fl.LoadedModel) -> np.ndarray:
    """transformers' logits of the left-padded batch."""
    ids, real = left_padded([ready.ids for ready in jobs])
    sees, _ = left_padded([ready.sees for ready in jobs])
    slots = max(1, max(len(ready.rendered.images) for ready in jobs))
    pixels = torch.zeros(len(jobs), slots, 3, IMAGE_PX, IMAGE_PX)
    for row, ready in enumerate(jobs):
        for slot, image in enumerate(ready.rendered.images):
            pixels[row, slot] = torch.from_numpy(loaded.pipeline(image.load())[0])
    mask = (sees[..., None] == torch.arange(slots)) & real[..., None]
    with torch.no_grad():
        output = model(input_ids=ids, attention_mask=real.long(), pixel_values=pixels, image_attention_mask=mask.long())
        return output.logits.numpy()


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(config=configurations(), rows=PROMPTS, seed=st.integers(0, 1000))
def test_logits_are_equal_on_random_models(
    tmp_path_factory: Any, config: dict[str, Any], rows: list[str], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("idefics")
    model = write_checkpoint(folder, config, seed)
    loaded = fl.load(folder, dtype="float32", device="cpu")
    requests = [fl.Request(str(n), fl.Prompt.raw(*parts(kinds, seed + 10 * n))) for n, kinds in enumerate(rows)]
    jobs = [job(loaded, request) for request in requests]
    expected = theirs(model, jobs, loaded)
    for row, ready in enumerate(jobs):
        alone = reference.logits(loaded, ready.sequence, reference.picture_tokens(loaded, ready)).numpy()
        np.testing.assert_allclose(alone, expected[row, -len(ready.ids) :], atol=1e-4, rtol=0)
    together = logits_together(loaded, jobs).numpy()
    side_by_side = np.concatenate([row[-len(ready.ids) :] for row, ready in zip(expected, jobs, strict=True)])
    np.testing.assert_allclose(together, side_by_side, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> fl.LoadedModel:
    folder = tmp_path_factory.mktemp("idefics")
    write_checkpoint(folder, {}, seed=1)
    return fl.load(folder)


@pytest.mark.parametrize("ends_utterances", [True, False])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(kinds=st.text("it", min_size=1, max_size=7), seed=st.integers(0, 1000))
def test_ids_are_those_of_the_processor(loaded: fl.LoadedModel, ends_utterances: bool, kinds: str, seed: int) -> None:
    folder = Path(loaded.about["weights"])
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        unk_token="<unk>",
    )
    processor = transformers.IdeficsProcessor(
        image_processor=transformers.IdeficsImageProcessorPil(image_size=IMAGE_PX), tokenizer=tokenizer
    )
    sequence = parts(kinds, seed)
    expected = processor(
        text=[[part.load() if isinstance(part, fl.Image) else part for part in sequence]],
        add_end_of_utterance_token=ends_utterances,
        return_tensors="pt",
    )
    rendered = loaded.renderer.render(fl.Prompt.raw(*sequence, ends_utterances=ends_utterances))
    assert list(rendered.ids) == expected["input_ids"][0].tolist()
    if rendered.images:
        pixels = np.concatenate([loaded.pipeline(image.load()) for image in rendered.images])
        np.testing.assert_allclose(pixels, expected["pixel_values"][0].numpy(), atol=1e-6)
        slots = torch.arange(len(rendered.images))
        sees = torch.tensor(rendered.sees)[:, None] == slots
        assert torch.equal(sees, expected["image_attention_mask"][0].bool())


def test_flat_configuration_of_first_revisions_loads_alike(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {}, seed=3)
    nested = fl.load(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    vision = config.pop("vision_config")
    perceiver = config.pop("perceiver_config")
    names = ("embed_dim", "image_size", "patch_size", "intermediate_size", "num_attention_heads", "num_hidden_layers")
    flat = {f"vision_{name}": vision[name] for name in names} | perceiver
    (tmp_path / "config.json").write_text(json.dumps(config | flat))
    assert fl.load(tmp_path).vlm.architecture == nested.vlm.architecture
