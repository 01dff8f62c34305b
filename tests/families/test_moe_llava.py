"""MoE-LLaVA: prompts token by token, the same answer in any company, the router's noise, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image as pil
from safetensors.torch import load_file, save_file

import flamingo_lab as fl
from flamingo_lab import families
from flamingo_lab.engine import loop, reference
from flamingo_lab.engine.kv import IntoSlots, Slots
from flamingo_lab.engine.passes import Layout, Row
from flamingo_lab.engine.plan import job
from flamingo_lab.errors import BadCheckpoint, BadConfig, BadPrompt, BadSetting
from flamingo_lab.family import Folder
from flamingo_lab.markup.chunks import PLACEHOLDER
from flamingo_lab.nn.experts import Router, Routing
from flamingo_lab.templates import USER_SYSTEM
from tests.batches import passes_of
from tests.engine.test_equal_to_reference import assert_equal
from tests.families.test_idefics_against_transformers import parts
from tests.families.tiny_moe_llava import KINDS, write_checkpoint

SCARCE = 0.6
"""A capacity factor that leaves many tokens with one expert or none."""


def load(folder: Path, **more: Any) -> fl.LoadedModel:
    return fl.load(folder / "model", vision=folder / "vision", dtype="float32", device="cpu", **more)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One folder a decoder, with too few places for its tokens; Qwen's prompts are longer than its own length."""
    root = tmp_path_factory.mktemp("moe_llava")
    more = {"qwen": {"seq_length": 24}}
    for kind, tower in zip(KINDS, ("clip", "siglip", "clip"), strict=True):
        write_checkpoint(root / kind, kind, more.get(kind), tower=tower, seed=7, capacity_factor=SCARCE)
    return {kind: root / kind for kind in KINDS}


@pytest.fixture
def other(folders: dict[str, Path], tmp_path: Path) -> Path:
    return shutil.copytree(folders["phi"], tmp_path / "other")


def rewrite(folder: Path, **changes: object) -> None:
    file = folder / "model" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def rewrite_moe(folder: Path, **changes: object) -> None:
    moe = json.loads((folder / "model" / "config.json").read_text())["moe"]
    rewrite(folder, moe=moe | changes)


def picture(*size: int) -> fl.Image:
    return fl.Image(pil.new("RGB", size, (200, 30, 90)))


@pytest.mark.parametrize("kind", KINDS)
def test_turns_and_pictures_are_said_as_the_authors_say_them(kind: str, folders: dict[str, Path]) -> None:
    model = load(folders[kind])
    assert model.about["wording"] == kind
    shots = [fl.Shot(picture(20, 10), "What is it?", answer="a car")]
    rendered = model.renderer.render(fl.Prompt.ask(picture(9, 30), picture(5, 5), "Where?", shots=shots))
    chunks = [
        f"{USER_SYSTEM} USER: ",
        "\nWhat is it? ASSISTANT: a car<|endoftext|>USER: ",
        "\n",
        "\nWhere? ASSISTANT:",
    ]
    assert rendered.text == "<image>".join(chunks)
    ids = model.tokenizer.encode(chunks[0])
    for chunk in chunks[1:]:
        ids += [PLACEHOLDER, *model.tokenizer.encode(chunk)]
    assert list(rendered.ids) == ids
    assert ids.count(model.tokenizer.id_of("<|endoftext|>") or -1) == 1
    assert model.stop_ids == {model.tokenizer.id_of("<|endoftext|>")}
    tokens = (
        3 if kind == "stablelm" else 4
    )  # of SigLIP's four patches the first is lost, of CLIP's tokens the class token
    assert [slot.tokens for slot in rendered.slots] == [tokens] * 3


def requests(decoding: fl.Decoding) -> list[fl.Request]:
    kinds = ("it", "titit", "t", "iit", "ittit", "tt", "itt")
    prompts = [fl.Prompt.raw(*parts(kind, 10 * n)) for n, kind in enumerate(kinds)]
    return [fl.Request(str(n), prompt, decoding, max_new_tokens=6) for n, prompt in enumerate(prompts)]


@pytest.mark.parametrize("noise", [None, 3])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "decoding",
    [fl.Greedy(), fl.Sample(temperature=2.0, seed=1), fl.Beam(3), fl.Rank(("yes", "no, it is not", "a red car"))],
    ids=lambda decoding: type(decoding).__name__,
)
def test_loop_equals_reference_in_any_batch(
    folders: dict[str, Path], kind: str, decoding: fl.Decoding, noise: int | None
) -> None:
    model = load(folders[kind], router_noise=noise)
    asked = requests(decoding)
    expected = {request.id: reference.answer(model, request) for request in asked}
    random.Random(0).shuffle(asked)
    for batch_tokens in (1, 200, 100_000):
        for answer in loop.answers(model, asked, batch_tokens):
            assert_equal(answer, expected[answer.id])


@pytest.mark.parametrize("kind", KINDS)
def test_slots_keep_their_prompts_and_their_noise_when_they_change_places(kind: str, folders: dict[str, Path]) -> None:
    """Spelt out, since a batch that fails is asked again by halves."""
    model = load(folders[kind], router_noise=2)
    jobs = [job(model, request) for request in requests(fl.Greedy())]
    passes = passes_of(model, jobs)
    rows = [Row.of(ready, 0, len(ready.ids), ()) for ready in jobs]
    order = [4, 1, 1, 5]
    slots = Slots(len(rows), max(len(ready.ids) for ready in jobs) + 1)
    with torch.inference_mode():
        passes.prompts(rows, IntoSlots(slots, 0))
        slots.lengths += [len(ready.ids) for ready in jobs]
        slots.move(order, range(len(order)))
        del slots.lengths[len(order) :]
        layout = Layout.of(passes, [rows[number] for number in order])
        tokens = [3, 5, 7, 9]
        found = layout.step(passes, slots, tokens, [len(jobs[number].ids) for number in order])
    for row, (number, token) in enumerate(zip(order, tokens, strict=True)):
        ready = jobs[number]
        sequence = reference.extended(ready.sequence, (token,))
        pictures = reference.picture_tokens(model, ready)
        alone = reference.logits(model, sequence, pictures, model.noise(ready.request.id))[-1]
        torch.testing.assert_close(found[row], alone.log_softmax(-1), atol=1e-4, rtol=1e-4)


@pytest.fixture
def routings(folders: dict[str, Path]) -> Iterator[tuple[fl.LoadedModel, list[Routing]]]:
    """A model, and what its routers do."""
    model = load(folders["phi"])
    seen: list[Routing] = []
    routers = [module for module in model.vlm.modules() if isinstance(module, Router)]
    hooks = [router.register_forward_hook(lambda router, given, routing: seen.append(routing)) for router in routers]
    yield model, seen
    for hook in hooks:
        hook.remove()


def test_tokens_are_dropped_in_prompts_and_never_in_answers(
    routings: tuple[fl.LoadedModel, list[Routing]],
) -> None:
    """Else the tests of equal answers would not see a difference."""
    model, seen = routings
    list(loop.answers(model, requests(fl.Greedy())))
    prompts = [routing for routing in seen if routing.weights.shape[1] > 1]
    steps = [routing for routing in seen if routing.weights.shape[1] == 1]
    assert len(prompts) == 2
    assert len(steps) == 2 * 5
    left = [(routing.weights.sum(-1) == 0) & routing.counted for routing in prompts]
    assert all(bool(rows.any()) for rows in left)
    assert all(bool(((routing.weights > 0).sum(-1) == 2).all()) for routing in steps)


def test_noise_depends_on_seed_and_id_and_on_nothing_else(folders: dict[str, Path]) -> None:
    def logprobs(noise: int | None, prefix: str = "") -> list[float]:
        asked = [dataclasses.replace(request, id=prefix + request.id) for request in requests(fl.Greedy())]
        answers = load(folders["phi"], router_noise=noise).answers(asked)
        return [answer.logprob or 0.0 for answer in sorted(answers, key=lambda answer: answer.id)]

    quiet, first = logprobs(None), logprobs(1)
    assert first == pytest.approx(logprobs(1), abs=1e-5)
    for different in (quiet, logprobs(2), logprobs(1, prefix="x")):
        assert first != pytest.approx(different, abs=1e-3)


def test_noise_is_gumbel_and_of_each_position_its_own(folders: dict[str, Path]) -> None:
    table = load(folders["phi"], router_noise=5).noise("a")
    assert table is not None
    assert table.shape == (2, 512, 4)
    assert float(table.mean()) == pytest.approx(0.5772, abs=0.05)
    assert float(table.var()) == pytest.approx(1.6449, abs=0.15)
    assert len(table.flatten().unique()) > 0.999 * table.numel()


def test_noise_is_part_of_the_models_digest(folders: dict[str, Path]) -> None:
    digests = {load(folders["phi"], router_noise=noise).digest for noise in (None, 0, 1)}
    assert len(digests) == 3


def test_a_family_without_a_router_refuses_noise(tmp_path: Path) -> None:
    from tests.families.tiny_idefics import write_checkpoint as write_idefics

    write_idefics(tmp_path / "model", {}, seed=0)
    with pytest.raises(BadSetting, match=r"router_noise: .* of the idefics family has no such option"):
        fl.load(tmp_path / "model", router_noise=1)


def test_vocabulary_rows_without_a_token_are_cut(folders: dict[str, Path]) -> None:
    for kind in KINDS:
        model = load(folders[kind])
        assert model.vlm.architecture.decoder.vocab == len(model.tokenizer)


def test_longer_prompts_are_cut_where_the_authors_cut_them(other: Path) -> None:
    rewrite(other, tokenizer_model_max_length=40)
    model = load(other)
    long = fl.Request("a", fl.Prompt.raw("a" * 50), max_new_tokens=2)
    refused, cut = model.answers([long]), model.answers([dataclasses.replace(long, is_cut=True)])
    (error,) = [answer.error for answer in refused]
    assert error is not None
    assert "cut its end off at 40" in error.message
    assert [answer.prompt_tokens for answer in cut] == [40]


def test_a_tower_in_the_main_files_is_passed_over(folders: dict[str, Path], other: Path) -> None:
    file = other / "model" / "model.safetensors"
    inner = "model.image_tower.image_tower.vision_model.pre_layrnorm.weight"
    save_file(load_file(file) | {inner: torch.zeros(3)}, file)
    answers = [load(folder).answer(picture(8, 8), "what?").logprob for folder in (folders["phi"], other)]
    assert answers[0] == pytest.approx(answers[1], abs=1e-5)


def test_a_head_with_a_bias_is_not_this_familys(other: Path) -> None:
    file = other / "model" / "model.safetensors"
    save_file(load_file(file) | {"lm_head.bias": torch.zeros(3)}, file)
    with pytest.raises(BadCheckpoint, match=r"unknown tensor lm_head\.bias"):
        load(other)


def test_a_missing_expert_is_told_by_its_published_name(other: Path) -> None:
    file = other / "model" / "model.safetensors"
    tensors = load_file(file)
    gone = "model.layers.2.mlp.deepspeed_moe.experts.deepspeed_experts.1.fc2.bias"
    del tensors[gone]
    save_file(tensors, file)
    with pytest.raises(BadCheckpoint, match=f"tensor {gone} .* is missing"):
        load(other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_k_experts": 3}, "top_k_experts is 3; DeepSpeed has one or two"),
        ({"num_experts": [4]}, r"num_experts \[4\] do not fit 3 layers"),
        ({"num_experts": [4, 1]}, "two at least"),
        ({"moe_layers_idx": [0, 3]}, r"moe_layers_idx \[0, 3\]"),
    ],
)
def test_experts_that_are_not_known_are_refused(other: Path, changes: dict[str, object], message: str) -> None:
    rewrite_moe(other, **changes)
    with pytest.raises(BadConfig, match=message):
        load(other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "moe_llava_mistral"}, "model_type 'moe_llava_mistral' is none of moe_llava_phi"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end is not known"),
        ({"image_projector_type": "qformer2_4"}, "projector's type 'qformer2_4' is none of"),
        ({"partial_rotary_factor": 0.4}, "0.4 of heads 8 wide is odd"),
        ({"hidden_act": "swiglu"}, "activation 'swiglu' is none of"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2}}, "rotary positions by 'dynamic' is not known"),
        ({"qk_layernorm": True}, "qk_layernorm is True; only False is known"),
        ({"mm_vision_select_feature": "all"}, "mm_vision_select_feature: 'all' is missing or not a known value"),
        ({"moe": {"top_k_experts": 2, "use_residual": False}}, "'moe_layers_idx' is missing"),
    ],
)
def test_configurations_that_are_not_known_are_refused(other: Path, changes: dict[str, object], message: str) -> None:
    rewrite(other, **changes)
    with pytest.raises(BadConfig, match=message):
        load(other)


def test_a_processor_of_another_size_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    other = shutil.copytree(folders["stablelm"], tmp_path / "other")
    file = other / "vision" / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"size": {"height": 24, "width": 24}}))
    with pytest.raises(BadConfig, match="but the tower takes 12"):
        load(other)


def test_the_picture_mark_in_a_text_is_refused(folders: dict[str, Path]) -> None:
    with pytest.raises(BadPrompt, match="<image>"):
        load(folders["qwen"]).renderer.render(fl.Prompt.ask("what is <image>?"))


def test_the_folder_is_this_familys_alone(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        matching = [family.name for family in families.all_families() if family.matches(Folder(folder / "model"))]
        assert matching == ["moe_llava"]
