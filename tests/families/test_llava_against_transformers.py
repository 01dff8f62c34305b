"""Equal to transformers' own classes on random tiny models: the converted layout, the authors' layout, any resolution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import flamingo_lab as fl
from flamingo_lab.engine import reference
from flamingo_lab.engine.plan import Job, job
from flamingo_lab.pixels import CLIP_MEAN, CLIP_STD
from tests.batches import left_padded, logits_together
from tests.families.tiny_llava import ANYRES, Tiny, edit, picture, write, write_converted

TEXTS = ("a red car", "two dogs on the sofa", "what is it?\n", "x", "an old tree near the river was")

EXAMPLES = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}

PROMPTS = st.lists(st.text("it", min_size=1, max_size=4).filter(lambda kinds: "t" in kinds), min_size=1, max_size=3)
"""Rows of one batch, `i` a picture, `t` a text: with several pictures, pictures first and last, and none at all."""


@st.composite
def towers(draw: st.DrawFn) -> dict[str, Any]:
    heads = draw(st.integers(1, 3))
    return {
        "hidden_size": 4 * heads * draw(st.integers(1, 3)),
        "intermediate_size": draw(st.integers(8, 30)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "image_size": 12,
        "patch_size": draw(st.sampled_from([4, 6])),
        "hidden_act": draw(st.sampled_from(["quick_gelu", "gelu"])),
        "layer_norm_eps": draw(st.sampled_from([1e-5, 1e-3])),
    }


@st.composite
def decoders(draw: st.DrawFn) -> dict[str, Any]:
    kv_heads, groups = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    return {
        "hidden_size": 2 * draw(st.integers(2, 4)) * kv_heads * groups,
        "intermediate_size": draw(st.integers(8, 40)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": kv_heads * groups,
        "num_key_value_heads": kv_heads,
        "rms_norm_eps": draw(st.sampled_from([1e-6, 1e-3])),
        "rope_theta": draw(st.sampled_from([10_000.0, 1e6, 50.0])),
        "rope_scaling": draw(st.sampled_from([None, {"type": "linear", "factor": 2.5}])),
    }


@st.composite
def originals(draw: st.DrawFn) -> dict[str, Any]:
    """config.json in the authors' layout; a window is shorter than any picture with its words."""
    is_mistral = draw(st.booleans())
    return draw(decoders()) | {
        "model_type": "llava_mistral" if is_mistral else "llava",
        "sliding_window": draw(st.sampled_from([None, 3, 7])) if is_mistral else None,
        "attention_bias": not is_mistral and draw(st.booleans()),
        "mlp_bias": not is_mistral and draw(st.booleans()),
        "tie_word_embeddings": draw(st.booleans()),
        "mm_projector_type": draw(st.sampled_from(["linear", "mlp2x_gelu", "mlp3x_gelu"])),
        "mm_vision_select_layer": draw(st.sampled_from([-2, -1, 0, 1])),
        "mm_vision_select_feature": draw(st.sampled_from(["patch", "cls_patch"])),
    }


def requests(rows: Sequence[str], seed: int, sizes: Sequence[tuple[int, int]] = ()) -> list[fl.Request]:
    """One raw prompt a row."""
    found: list[fl.Request] = []
    for number, kinds in enumerate(rows):
        seeds = [seed + 10 * number + place for place in range(len(kinds))]
        parts = [
            picture(one, sizes[one % len(sizes)] if sizes else None) if kind == "i" else TEXTS[one % len(TEXTS)]
            for one, kind in zip(seeds, kinds, strict=True)
        ]
        found.append(fl.Request(str(number), fl.Prompt.raw(*parts)))
    return found


def check(loaded: fl.LoadedModel, jobs: list[Job], expected: Tensor) -> None:
    """The reference and the batch with memory give the logits of the left-padded batch."""
    for row, ready in enumerate(jobs):
        alone = reference.logits(loaded, ready.sequence, reference.picture_tokens(loaded, ready))
        np.testing.assert_allclose(alone, expected[row, -len(ready.ids) :], atol=1e-4, rtol=0)
    together = logits_together(loaded, jobs).numpy()
    side_by_side = np.concatenate([row[-len(ready.ids) :] for row, ready in zip(expected, jobs, strict=True)])
    np.testing.assert_allclose(together, side_by_side, atol=1e-4, rtol=0)


def positions(real: Tensor) -> Tensor:
    return (real.cumsum(-1) - 1).clamp(min=0)


def pixels(loaded: fl.LoadedModel, images: Sequence[fl.Image]) -> Tensor:
    return torch.from_numpy(np.concatenate([loaded.pipeline(image.load()) for image in images]))


@torch.inference_mode()
def of_the_parts(config: dict[str, Any], tiny: Tiny, loaded: fl.LoadedModel, jobs: list[Job]) -> Tensor:
    """transformers' decoder on embeddings that are spliced by hand: words, and a layer of the tower projected."""
    layer, first = config["mm_vision_select_layer"], config["mm_vision_select_feature"] == "patch"
    rows: list[Tensor] = []
    for ready in jobs:
        images = iter(ready.rendered.images)
        pieces: list[Tensor] = []
        for token in ready.rendered.ids:
            if token >= 0:
                pieces.append(tiny.decoder.get_input_embeddings()(torch.tensor([token])))
            else:
                seen = tiny.tower(pixels(loaded, [next(images)]), output_hidden_states=True).hidden_states
                pieces.append(tiny.projector(seen[layer][0, first:]))
        rows.append(torch.cat(pieces))
    length = max(map(len, rows))
    x = torch.stack([torch.cat((torch.zeros(length - len(row), row.shape[1]), row)) for row in rows])
    real = torch.tensor([[place >= length - len(row) for place in range(length)] for row in rows])
    return tiny.decoder(inputs_embeds=x, attention_mask=real.long(), position_ids=positions(real)).logits


@settings(max_examples=25, **EXAMPLES)
@given(config=originals(), tower=towers(), rows=PROMPTS, seed=st.integers(0, 1000))
def test_the_authors_layout_equals_llama_mistral_and_clip(
    tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any], tower: dict[str, Any], rows: list[str], seed: int
) -> None:
    tiny = write(tmp_path_factory.mktemp("llava"), config, tower, seed=seed)
    loaded = tiny.load()
    jobs = [job(loaded, request) for request in requests(rows, seed)]
    check(loaded, jobs, of_the_parts(config, tiny, loaded, jobs))


def test_a_window_shorter_than_the_prompt_changes_the_answer(tmp_path: Path) -> None:
    """Else the test above could not tell whether a window is looked at."""
    tiny = write(tmp_path, {"model_type": "llava_mistral", "num_key_value_heads": 1, "sliding_window": 3})
    narrow = tiny.load()
    edit(tiny.path / "config.json", sliding_window=None)
    request = fl.Request("0", fl.Prompt.raw(picture(1), TEXTS[1]))
    found = [
        reference.logits(model, job(model, request).sequence, reference.picture_tokens(model, job(model, request)))
        for model in (narrow, tiny.load())
    ]
    assert float((found[0] - found[1]).abs().max()) > 0.1


@settings(max_examples=60, **EXAMPLES)
@given(width=st.integers(1, 90), height=st.integers(1, 90), seed=st.integers(0, 99), is_padded=st.booleans())
def test_pixels_are_those_of_the_processors(
    crops: fl.LoadedModel, pads: fl.LoadedModel, width: int, height: int, seed: int, is_padded: bool
) -> None:
    processor = transformers.LlavaImageProcessorPil(
        do_pad=is_padded,
        size={"shortest_edge": 12},
        crop_size={"height": 12, "width": 12},
        image_mean=CLIP_MEAN,
        image_std=CLIP_STD,
    )
    image = picture(seed, (width, height))
    expected = processor(image.load(), return_tensors="np")["pixel_values"]
    np.testing.assert_array_equal((pads if is_padded else crops).pipeline(image.load()), expected)


@pytest.fixture(scope="module")
def pads(tmp_path_factory: pytest.TempPathFactory) -> fl.LoadedModel:
    return write(tmp_path_factory.mktemp("llava")).load()


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> fl.LoadedModel:
    return write(tmp_path_factory.mktemp("llava"), {"image_aspect_ratio": None}).load()


@torch.inference_mode()
def of_the_model(model: Any, loaded: fl.LoadedModel, jobs: list[Job], **more: Any) -> Tensor:
    """transformers' whole model on the left-padded ids, a picture's mark once for each of its tokens."""
    mark = model.config.image_token_id
    ids, real = left_padded([[mark if token < 0 else token for token in ready.ids] for ready in jobs])
    if not any(ready.rendered.images for ready in jobs):
        more = {}
    output = model(input_ids=ids, attention_mask=real.long(), position_ids=positions(real), **more)
    return output.logits


@settings(max_examples=20, **EXAMPLES)
@given(decoder=decoders(), tower=towers(), rows=PROMPTS, seed=st.integers(0, 1000))
def test_the_converted_layout_equals_transformers_model(
    tmp_path_factory: pytest.TempPathFactory, decoder: dict[str, Any], tower: dict[str, Any], rows: list[str], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("llava_hf")
    model = write_converted(folder, decoder, tower, seed)
    loaded = fl.load(folder, dtype="float32", device="cpu")
    jobs = [job(loaded, request) for request in requests(rows, seed)]
    images = [image for ready in jobs for image in ready.rendered.images]
    more = {"pixel_values": pixels(loaded, images)} if images else {}
    check(loaded, jobs, of_the_model(model, loaded, jobs, **more))


def next_model(tiny: Tiny, loaded: fl.LoadedModel) -> Any:
    """transformers' LLaVA-NeXT with the weights of a checkpoint in the authors' layout."""
    pinpoints = [[height, width] for width, height in loaded.vlm.architecture.tiling.grids]  # pyright: ignore
    config = transformers.LlavaNextConfig(
        text_config=tiny.decoder.config,
        vision_config=tiny.tower.config,
        image_token_index=tiny.decoder.config.vocab_size - 1,  # no word's id
        image_grid_pinpoints=pinpoints,
    )
    model = transformers.LlavaNextForConditionalGeneration(config).eval()
    model.model.language_model = tiny.decoder.model
    model.lm_head = tiny.decoder.lm_head
    model.model.vision_tower = tiny.tower
    model.model.multi_modal_projector.linear_1 = tiny.projector[0]
    model.model.multi_modal_projector.linear_2 = tiny.projector[2]
    model.model.image_newline.data = tiny.newline
    return model


def is_edge(size: tuple[int, int], loaded: fl.LoadedModel) -> bool:
    """Whether transformers rounds this size's padding in another way than the authors (see test_tiles.py)."""
    tiling = loaded.vlm.architecture.tiling
    assert tiling is not None
    (rows, columns), (width, height) = tiling.shape(size), size
    full_height, full_width = rows * tiling.side_tokens, columns * tiling.side_tokens
    is_wide = width / height > full_width / full_height
    exact = height * (full_width / width) if is_wide else width * (full_height / height)
    return int(exact) != int(round(exact, 7))


SIZES = st.tuples(st.integers(5, 80), st.integers(5, 80)).filter(lambda size: max(size) > 12)
"""Above the tower's own size: below it two canvases tie, and transformers takes the other one."""


@settings(max_examples=20, **EXAMPLES)
@given(
    decoder=decoders(),
    tower=towers(),
    rows=PROMPTS,
    sizes=st.lists(SIZES, min_size=3, max_size=3),
    seed=st.integers(0, 1000),
)
def test_any_resolution_equals_llava_next(
    tmp_path_factory: pytest.TempPathFactory,
    decoder: dict[str, Any],
    tower: dict[str, Any],
    rows: list[str],
    sizes: list[tuple[int, int]],
    seed: int,
) -> None:
    tiny = write(tmp_path_factory.mktemp("llava"), decoder | ANYRES, tower, vocab=361, seed=seed)
    loaded = tiny.load()
    sizes = [size for size in sizes if not is_edge(size, loaded)] or [(40, 30)]
    jobs = [job(loaded, request) for request in requests(rows, seed, sizes)]
    images = [image for ready in jobs for image in ready.rendered.images]
    model = next_model(tiny, loaded)
    more: dict[str, Any] = {}
    if images:
        processor = transformers.LlavaNextImageProcessorPil(
            image_grid_pinpoints=model.config.image_grid_pinpoints,
            size={"shortest_edge": 12},
            crop_size={"height": 12, "width": 12},
            image_mean=CLIP_MEAN,
            image_std=CLIP_STD,
        )
        more = dict(processor([image.load() for image in images], return_tensors="pt"))
        for image, expected in zip(images, more["pixel_values"], strict=True):
            own = loaded.pipeline(image.load())
            np.testing.assert_array_equal(own, expected[: len(own)])
    expected = of_the_model(model, loaded, jobs, **more)
    check(loaded, jobs, expected[..., :-1])  # the authors' loader leaves out the rows of no token
