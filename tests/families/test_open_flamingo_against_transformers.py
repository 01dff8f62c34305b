"""Equal to transformers' GPT-NeoX, MPT and CLIP with the authors' formulas around them, on random tiny configurations."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flamingo_lab as fl
from flamingo_lab.engine import reference
from flamingo_lab.engine.plan import job
from flamingo_lab.tokens import TokenizerFile
from tests.batches import left_padded, logits_together
from tests.families.test_idefics_against_transformers import PROMPTS, parts
from tests.families.tiny_clip import IMAGE_PX
from tests.families.tiny_open_flamingo import LAYERS, language_config, tokenizer_json, write_checkpoint

KINDS = sorted(LAYERS)

SETTINGS = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


@st.composite
def configurations(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    """Arguments of `write_checkpoint`: heads that are no power of two, partial rotary, both activations of a tower."""
    every = draw(st.integers(1, 3))
    more = {
        "gpt_neox": {
            "rotary_pct": draw(st.sampled_from([0.25, 0.5, 1.0])),
            "rotary_emb_base": draw(st.sampled_from([10000, 500])),
            "layer_norm_eps": draw(st.sampled_from([1e-5, 1e-3])),
            "use_parallel_residual": draw(st.booleans()),
            "hidden_act": draw(st.sampled_from(["gelu", "gelu_new", "relu"])),
            "tie_word_embeddings": draw(st.booleans()),
        },
        "mpt": {
            "alibi_bias_max": draw(st.sampled_from([8, 4])),
            "clip_qkv": draw(st.sampled_from([None, 0.5, 6.0])),
        },
        "mosaic_gpt": {},
    }[kind]
    layers = every * draw(st.integers(1, 2)) + draw(st.integers(0, every - 1))
    vision_heads = draw(st.integers(1, 3))
    vision = {
        "hidden_size": 4 * vision_heads * draw(st.integers(1, 3)),
        "num_attention_heads": vision_heads,
        "num_hidden_layers": draw(st.integers(1, 3)),
        "patch_size": draw(st.sampled_from([4, 6, 12])),
        "intermediate_size": 24,
        "hidden_act": draw(st.sampled_from(["quick_gelu", "gelu"])),
    }
    return {
        "kind": kind,
        "config": language_config(kind, draw(st.integers(1, 7)), draw(st.sampled_from([8, 16])), layers, **more),
        "every": every,
        "depth": draw(st.integers(1, 2)),
        "latents": draw(st.integers(1, 5)),
        "vision": vision,
    }


@pytest.mark.parametrize("kind", KINDS)
@SETTINGS
@given(data=st.data(), rows=PROMPTS, layout=st.sampled_from(["vision", "vision_open_clip"]), seed=st.integers(0, 1000))
def test_logits_are_equal_on_random_models(
    tmp_path_factory: Any, kind: str, data: st.DataObject, rows: list[str], layout: str, seed: int
) -> None:
    written = write_checkpoint(tmp_path_factory.mktemp("of"), seed=seed, **data.draw(configurations(kind)))
    loaded = written.load(layout)
    requests = [fl.Request(str(n), fl.Prompt.raw(*parts(kinds, seed + 10 * n))) for n, kinds in enumerate(rows)]
    jobs = [job(loaded, request) for request in requests]
    ids, real = left_padded([ready.ids for ready in jobs])
    pixels = [
        torch.stack([torch.from_numpy(loaded.pipeline(image.load())[0]) for image in ready.rendered.images])
        if ready.rendered.images
        else torch.zeros(0, 3, IMAGE_PX, IMAGE_PX)
        for ready in jobs
    ]
    expected = written.logits(ids, real, pixels).numpy()
    for row, ready in enumerate(jobs):
        alone = reference.logits(loaded, ready.sequence, reference.picture_tokens(loaded, ready)).numpy()
        np.testing.assert_allclose(alone, expected[row, -len(ready.ids) :], atol=1e-4, rtol=0)
    together = logits_together(loaded, jobs).numpy()
    side_by_side = np.concatenate([row[-len(ready.ids) :] for row, ready in zip(expected, jobs, strict=True)])
    np.testing.assert_allclose(together, side_by_side, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_closed_gates_leave_the_language_model_alone(kind: str, tmp_path: Any) -> None:
    written = write_checkpoint(tmp_path, kind, seed=3)
    held = {name: tensor * ("_gate" not in name) for name, tensor in written.held.items()}
    written.save(held)
    loaded = written.load()
    ready = job(loaded, fl.Request("x", fl.Prompt.raw(*parts("titit", 5))))
    found = reference.logits(loaded, ready.sequence, reference.picture_tokens(loaded, ready))
    with torch.no_grad():
        expected = written.language(input_ids=torch.tensor([ready.ids])).logits[0]
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5, rtol=0)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    words=st.lists(
        st.sampled_from(["a cat", " .", " ,", " n't", " 's", " ' ", "' ", " 're", "!", " ?", " "]), max_size=8
    )
)
def test_decoded_text_is_tidied_as_transformers_did(tmp_path_factory: Any, words: list[str]) -> None:
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    text = "".join(words)
    tidy = TokenizerFile(folder / "tokenizer.json", tidies=True)
    assert tidy.decode(tidy.encode(text)) == theirs.clean_up_tokenization(text)
    plain = TokenizerFile(folder / "tokenizer.json")
    assert plain.decode(plain.encode(text)) == text
