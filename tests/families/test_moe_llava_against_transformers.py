"""Equal to transformers' Phi, StableLM and Qwen2 with CLIP and SigLIP towers, where all experts of a layer are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flamingo_lab as fl
from flamingo_lab.engine import reference
from flamingo_lab.engine.plan import Job, job
from flamingo_lab.markup.chunks import PLACEHOLDER
from tests.batches import logits_together
from tests.families.test_idefics_against_transformers import PROMPTS, parts
from tests.families.tiny_moe_llava import KINDS, Theirs, write_checkpoint


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    heads = draw(st.integers(1, 3))
    head_width, fraction = draw(st.sampled_from([(8, 0.25), (8, 1.0), (12, 0.5), (16, 0.25), (20, 0.4)]))
    layers = draw(st.integers(1, 4))
    chosen = sorted(draw(st.sets(st.integers(0, layers - 1), min_size=1)))
    return {
        "hidden_size": heads * head_width,
        "num_attention_heads": heads,
        "intermediate_size": draw(st.integers(8, 40)),
        "num_hidden_layers": layers,
        "moe_layers_idx": chosen,
        "num_experts": [draw(st.integers(2, 5)) for _ in chosen],
        "partial_rotary_factor": fraction,
        "rope_pct": fraction,
        "use_residual": draw(st.booleans()),
        "tie_word_embeddings": draw(st.booleans()),
    }


def logits(theirs: Theirs, model: fl.LoadedModel, ready: Job) -> np.ndarray:
    """Of one sequence, its placeholders replaced by picture tokens one after another; rows that are cut left out."""
    pictures = iter([torch.from_numpy(model.pipeline(image.load())) for image in ready.rendered.images])
    embedding = theirs.decoder.get_input_embeddings()
    pieces = [
        theirs.picture(next(pictures)) if token == PLACEHOLDER else embedding(torch.tensor([token]))
        for token in ready.rendered.ids
    ]
    whole = theirs.decoder(inputs_embeds=torch.cat(pieces)[None]).logits[0]
    return whole[:, : len(model.tokenizer)].numpy()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(config=configurations(), tower=st.sampled_from(["clip", "siglip"]), rows=PROMPTS, seed=st.integers(0, 1000))
def test_logits_are_equal_on_random_models(
    tmp_path_factory: Any, kind: str, config: dict[str, Any], tower: str, rows: list[str], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("moe_llava")
    theirs = write_checkpoint(folder, kind, config, tower=tower, seed=seed, copies=True, capacity_factor=2.5)
    model = fl.load(folder / "model", vision=folder / "vision", dtype="float32", device="cpu")
    jobs = [job(model, fl.Request(str(n), fl.Prompt.raw(*parts(kinds, seed + 10 * n)))) for n, kinds in enumerate(rows)]
    with torch.no_grad():
        expected = [logits(theirs, model, ready) for ready in jobs]
    for ready, wanted in zip(jobs, expected, strict=True):
        alone = reference.logits(model, ready.sequence, reference.picture_tokens(model, ready)).numpy()
        np.testing.assert_allclose(alone, wanted, atol=1e-4, rtol=1e-5)
    together = logits_together(model, jobs).numpy()
    np.testing.assert_allclose(together, np.concatenate(expected), atol=1e-4, rtol=1e-5)
