"""Equal to transformers' `CLIPVisionModel` and `LlamaForCausalLM` with the authors' projector between, on random models."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flamingo_lab as fl
from flamingo_lab.engine import reference
from flamingo_lab.engine.plan import Job, job
from flamingo_lab.markup.chunks import PLACEHOLDER
from tests.batches import logits_together
from tests.families.test_idefics_against_transformers import PROMPTS, parts
from tests.families.tiny_yi_vl import Theirs, write_checkpoint


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    kv_heads = draw(st.integers(1, 2))
    heads = kv_heads * draw(st.integers(1, 3))
    return {
        "hidden_size": heads * 2 * draw(st.integers(2, 4)),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": draw(st.integers(8, 40)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "rms_norm_eps": draw(st.sampled_from([1e-6, 1e-5])),
        "rope_theta": draw(st.sampled_from([10_000.0, 5e6])),
        "tie_word_embeddings": False,
        "mm_projector_type": draw(st.sampled_from(["mlp1x_gelu_Norm", "mlp2x_gelu_Norm", "mlp3x_gelu_Norm"])),
        "mm_vision_select_layer": draw(st.sampled_from([-1, -2])),
    }


@st.composite
def towers(draw: st.DrawFn) -> dict[str, Any]:
    heads = draw(st.integers(1, 3))
    return {
        "hidden_size": 4 * heads * draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "intermediate_size": draw(st.integers(8, 30)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "patch_size": draw(st.sampled_from([4, 6, 12])),
        "hidden_act": draw(st.sampled_from(["gelu", "quick_gelu"])),
    }


def logits(theirs: Theirs, model: fl.LoadedModel, ready: Job, layer: int) -> np.ndarray:
    """Of one sequence, its placeholders replaced by picture tokens one after another."""
    pictures = iter([torch.from_numpy(model.pipeline(image.load())) for image in ready.rendered.images])
    pieces = [
        theirs.picture(next(pictures), layer)
        if token == PLACEHOLDER
        else theirs.decoder.model.embed_tokens(torch.tensor([token]))
        for token in ready.rendered.ids
    ]
    return theirs.decoder(inputs_embeds=torch.cat(pieces)[None]).logits[0].numpy()


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(config=configurations(), vision=towers(), rows=PROMPTS, seed=st.integers(0, 1000))
def test_logits_are_equal_on_random_models(
    tmp_path_factory: Any, config: dict[str, Any], vision: dict[str, Any], rows: list[str], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("yi_vl")
    theirs = write_checkpoint(folder, config, vision, seed)
    model = fl.load(folder, dtype="float32", device="cpu")
    jobs = [job(model, fl.Request(str(n), fl.Prompt.raw(*parts(kinds, seed + 10 * n)))) for n, kinds in enumerate(rows)]
    with torch.no_grad():
        expected = [logits(theirs, model, ready, config["mm_vision_select_layer"]) for ready in jobs]
    for ready, wanted in zip(jobs, expected, strict=True):
        alone = reference.logits(model, ready.sequence, reference.picture_tokens(model, ready)).numpy()
        np.testing.assert_allclose(alone, wanted, atol=1e-4, rtol=1e-5)
    together = logits_together(model, jobs).numpy()
    np.testing.assert_allclose(together, np.concatenate(expected), atol=1e-4, rtol=1e-5)
