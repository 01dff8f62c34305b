"""Equal to transformers' `FuyuForCausalLM` on random tiny configurations, its rotary base set to the published one.

Its processor is no reference: it takes several tokens for a number and other ids for prompts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as pil

import flamingo_lab as fl
from flamingo_lab.engine import reference
from flamingo_lab.engine.plan import Job, job
from tests.batches import left_padded, logits_together
from tests.families.tiny_fuyu import CANVAS, write_checkpoint

TEXTS = ("What is the box?\n", "the <box>2, 4, 10, 12</box> is", "x", "Point <point>8, 3</point>", "")


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    head = 4 * draw(st.integers(1, 3))
    heads = draw(st.integers(1, 3))
    return {
        "hidden_size": head * heads,
        "num_attention_heads": heads,
        "intermediate_size": draw(st.integers(8, 40)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "hidden_act": draw(st.sampled_from(["relu2", "gelu"])),
        "qk_layernorm": draw(st.booleans()),
        "layer_norm_eps": draw(st.sampled_from([1e-5, 1e-3])),
        "partial_rotary_factor": draw(st.sampled_from([0.5, 1.0])),
        "rope_theta": draw(st.sampled_from([25000.0, 10000.0])),
        "patch_size": draw(st.sampled_from([3, 6, 12])),
    }


@st.composite
def rows(draw: st.DrawFn) -> list[fl.Prompt]:
    """Prompts of one batch: pictures of any size and shape, larger than the canvas too, or none."""
    made: list[fl.Prompt] = []
    for text in draw(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3)):
        width, height = draw(st.integers(2, 2 * CANVAS["width"])), draw(st.integers(2, 2 * CANVAS["height"]))
        pixels = np.random.default_rng(width + height).integers(0, 256, (height, width, 3), dtype=np.uint8)
        picture = [fl.Image(pil.fromarray(pixels))] if draw(st.booleans()) else []
        made.append(fl.Prompt.raw(*picture, text or "the"))
    return made


def theirs(model: Any, jobs: list[Job], loaded: fl.LoadedModel) -> np.ndarray:
    """transformers' logits of the left-padded batch, with positions as its generation counts them."""
    ids, real = left_padded([ready.rendered.ids for ready in jobs])
    pictures = [image for ready in jobs for image in ready.rendered.images]
    patches = [torch.from_numpy(loaded.pipeline(image.load())) for image in pictures]
    with torch.no_grad():
        output = model(
            input_ids=ids,
            attention_mask=real.long(),
            position_ids=(real.long().cumsum(-1) - 1).clamp(min=0),
            pixel_values=torch.cat(patches)[None] if patches else None,
        )
    return output.logits.numpy()


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(config=configurations(), batch=rows(), seed=st.integers(0, 1000))
def test_logits_are_equal_on_random_models(
    tmp_path_factory: Any, config: dict[str, Any], batch: list[fl.Prompt], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("fuyu")
    model = write_checkpoint(folder, config, seed)
    loaded = fl.load(folder, dtype="float32", device="cpu")
    jobs = [job(loaded, fl.Request(str(number), prompt)) for number, prompt in enumerate(batch)]
    expected = theirs(model, jobs, loaded)
    for row, ready in enumerate(jobs):
        alone = reference.logits(loaded, ready.sequence, reference.picture_tokens(loaded, ready)).numpy()
        np.testing.assert_allclose(alone, expected[row, -len(ready.ids) :], atol=1e-4, rtol=0)
    together = logits_together(loaded, jobs).numpy()
    side_by_side = np.concatenate([row[-len(ready.ids) :] for row, ready in zip(expected, jobs, strict=True)])
    np.testing.assert_allclose(together, side_by_side, atol=1e-4, rtol=0)
