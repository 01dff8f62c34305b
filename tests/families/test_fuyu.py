"""What is Fuyu's own: patches of any size, one picture a prompt, locations in prompts and answers, settings by default."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as pil
from torch.nn.functional import layer_norm

import flamingo_lab as fl
from flamingo_lab.config import Rotary
from flamingo_lab.engine import loop, reference
from flamingo_lab.engine.plan import job
from flamingo_lab.errors import BadConfig, BadImage, BadPrompt
from flamingo_lab.families.fuyu import FAMILY
from flamingo_lab.family import Folder
from flamingo_lab.locations import Locations
from flamingo_lab.patches import Patching
from flamingo_lab.prompt import CAPTION
from tests.families.tiny_fuyu import model, published, write_checkpoint, write_files

REAL = Patching(1920, 1080, 30)


def picture(width: int, height: int) -> fl.Image:
    pixels = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return fl.Image(pil.fromarray(pixels))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuyu")
    write_checkpoint(folder, {}, seed=1)
    return folder


@pytest.fixture(scope="module")
def loaded(folder: Path) -> fl.LoadedModel:
    return fl.load(folder, dtype="float32")


def ids(loaded: fl.LoadedModel, *tokens: str) -> tuple[int, ...]:
    found = [loaded.tokenizer.id_of(token) for token in tokens]
    assert None not in found, tokens
    return tuple(token for token in found if token is not None)


PATCH, ROW = "|SPEAKER|", "|NEWLINE|"


def rendered(loaded: fl.LoadedModel, *parts: fl.Image | str) -> tuple[int, ...]:
    return loaded.renderer.render(fl.Prompt.raw(*parts)).ids


def test_a_prompt_is_rows_of_patches_then_text_then_the_answers_mark(loaded: fl.LoadedModel) -> None:
    assert loaded.vlm.architecture.tokens_of((13, 12)) == 6
    row = (PATCH, PATCH, PATCH, ROW)  # 13 pixels are two patches of 6 and one more
    assert rendered(loaded, picture(13, 12), "the box") == ids(loaded, *row, *row, "<s>", "▁the", "▁", "box", "<0x04>")


def test_the_picture_stands_first_wherever_the_prompt_shows_it(loaded: fl.LoadedModel) -> None:
    shown = picture(13, 12)
    assert rendered(loaded, "the", shown, " box") == rendered(loaded, shown, "the box")


def test_a_prompt_without_picture_has_another_start_and_no_mark(loaded: fl.LoadedModel) -> None:
    assert rendered(loaded, "the box") == ids(loaded, "|ENDOFTEXT|", "▁the", "▁", "box")


def test_an_empty_text_leaves_start_and_mark(loaded: fl.LoadedModel) -> None:
    assert rendered(loaded, picture(5, 5)) == ids(loaded, PATCH, ROW, "<s>", "<0x04>")


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("<box>4, 6, 20, 24</box>", ["<0x00>", "2", "3", "10", "12", "<0x01>"]),
        ("the<point>4,7</point>the", ["▁the", "<0x02>", "2", "4", "<0x03>", "▁the"]),  # 3.5 is rounded to even
        ("<point>4, 5</point>", ["<0x02>", "2", "2", "<0x03>"]),
        ("<box>4, 6</box>", ["<0x02>", "2", "3", "<0x03>"]),  # two numbers are a point, whatever the tag
        ("<0x02>4, 6", ["<0x02>", "2", "3", "<0x03>"]),
        ("</box>the<box></box>", ["▁the"]),
    ],
)
def test_locations_become_single_numbers(loaded: fl.LoadedModel, text: str, tokens: list[str]) -> None:
    assert rendered(loaded, picture(5, 5), text) == ids(loaded, PATCH, ROW, "<s>", *tokens, "<0x04>")


def test_locations_follow_a_picture_that_is_reduced(loaded: fl.LoadedModel) -> None:
    found = rendered(loaded, picture(72, 20), "<box>8, 16, 40, 60</box>")
    assert found[-7:] == ids(loaded, "<0x00>", "2", "4", "10", "15", "<0x01>", "<0x04>")


@pytest.mark.parametrize(
    "text", ["<box>1, 2, 3</box>", "<box>a cat</box>", "<point>1, nan</point>", "<point>1;2</point>"]
)
def test_what_is_no_location_is_told(loaded: fl.LoadedModel, text: str) -> None:
    with pytest.raises(BadPrompt, match=r"a location holds .*; write <box>top, left, bottom, right</box> or"):
        rendered(loaded, picture(5, 5), text)


@pytest.mark.parametrize("text", ["<point>1, 9999</point>", "<point>1, -8</point>"])
def test_a_location_without_a_token_is_told(loaded: fl.LoadedModel, text: str) -> None:
    with pytest.raises(BadPrompt, match="beyond what the model can name; the picture has 5 x 7 pixels"):
        rendered(loaded, picture(5, 7), text)


def test_more_than_one_picture_is_an_error_of_its_request_alone(loaded: fl.LoadedModel) -> None:
    assert loaded.limits.images == 1
    shown = picture(8, 8)
    several = fl.Prompt.ask(shown, "What is it?", shots=[fl.Shot(picture(9, 9), "What is it?", answer="the box")])
    one = fl.Prompt.ask(shown, "What is it?")
    answers = {a.id: a for a in loaded.answers([fl.Request("several", several), fl.Request("one", one)])}
    error = answers["several"].error
    assert error is not None
    assert error.message == "the prompt shows 2 pictures, worked examples included; the model takes one"
    assert answers["one"].error is None
    with pytest.raises(BadPrompt):
        loaded.sent(fl.Request("several", several))


def test_questions_and_captions_are_said_as_the_card_says_them(loaded: fl.LoadedModel) -> None:
    def said(prompt: fl.Prompt) -> str:
        return loaded.renderer.render(prompt).text

    shown = picture(5, 5)
    assert said(fl.Prompt.ask(shown, "What is it?")) == "<image>What is it?\n"
    assert said(fl.Prompt.ask(shown, running=CAPTION)) == "<image>Generate a coco-style caption.\n"
    shots = [fl.Shot("What is the point?", answer="a box")]
    assert said(fl.Prompt.ask(shown, "What is it?", shots=shots)) == "<image>What is the point?\na box\nWhat is it?\n"


@pytest.mark.parametrize("has_picture", [True, False])
def test_options_are_ranked_behind_the_answers_mark(loaded: fl.LoadedModel, has_picture: bool) -> None:
    parts = [picture(13, 12)] if has_picture else []
    request = fl.Request("rank", fl.Prompt.ask(*parts, "What is it?"), fl.Rank(("the box", "a point")))
    ready = job(loaded, request)
    assert ready.ids == loaded.renderer.render(request.prompt).expanded().ids
    assert [option.ids for option in ready.options] == [
        tuple(loaded.tokenizer.encode(option)) for option in ("the box", "a point")
    ]
    (answer,) = loaded.answers([request])
    assert answer.option_logprobs == pytest.approx(reference.answer(loaded, request).option_logprobs, abs=1e-4)


@pytest.mark.parametrize("decoding", [fl.Greedy(), fl.Beam(3), fl.Sample(temperature=2.0, seed=3)])
def test_batches_of_pictures_of_all_sizes_answer_as_the_reference(
    loaded: fl.LoadedModel, decoding: fl.Decoding
) -> None:
    shown = [[picture(72, 20)], [picture(5, 40)], [], [picture(36, 24)], [picture(7, 7)]]
    asked = [
        fl.Request(str(number), fl.Prompt.ask(*parts, "What is it?" + "the " * number), decoding, max_new_tokens=8)
        for number, parts in enumerate(shown)
    ]
    for answer in loaded.answers(asked):
        expected = reference.answer(loaded, asked[int(answer.id)])
        assert answer.token_ids == expected.token_ids
        assert answer.text == expected.text
        assert answer.logprob == pytest.approx(expected.logprob, abs=1e-4)


def successors(tokens: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Weights of a model in which each of the tokens is followed by the next one, whatever stands before it."""
    tensors = {published(name): held.clone() for name, held in model({"hidden_size": 64}, seed=2).state_dict().items()}
    for name, held in tensors.items():
        if "final_layernorm" in name:
            held.fill_(float(name.endswith("weight")))
        elif ".dense" in name or "lm_head" in name:
            held.zero_()  # the layers add nothing
    embedded = layer_norm(tensors["language_model.model.embed_tokens.weight"], (64,))
    for before, after in itertools.pairwise(tokens):
        tensors["language_model.lm_head.weight"][after] = embedded[before]
    return tensors


@pytest.mark.parametrize(
    ("size", "tokens", "text"),
    [
        ((36, 24), ["<0x00>", "1", "2", "10", "7", "<0x01>", "▁is"], "<box>2, 4, 20, 14</box> is"),
        ((72, 20), ["▁the", "<0x02>", "1", "7", "<0x03>"], "the <point>4, 28</point>"),
        ((36, 24), ["<0x00>", "1", "2", "<0x01>", "▁is"], "\x0012\x01 is"),  # no box: the authors' loop does not end
    ],
)
def test_an_answer_says_locations_in_pixels_of_the_picture(
    tmp_path: Path, loaded: fl.LoadedModel, size: tuple[int, int], tokens: list[str], text: str
) -> None:
    whole = ids(loaded, "<0x04>", *tokens, "|ENDOFTEXT|")
    write_files(tmp_path, {"hidden_size": 64}, successors(whole))
    scripted = fl.load(tmp_path, dtype="float32")
    request = fl.Request("where", fl.Prompt.ask(picture(*size), "What is it?"), max_new_tokens=20)
    for answer in (reference.answer(scripted, request), *loop.answers(scripted, [request])):
        assert answer.token_ids == whole[1:]
        assert answer.text == text
        assert answer.stopped_by == "stop token"


def test_a_sequence_that_begins_with_a_location_keeps_it_unless_another_follows(loaded: fl.LoadedModel) -> None:
    locations = Locations(REAL)
    box = list(ids(loaded, "<0x00>", "1", "2", "3", "4", "<0x01>"))
    assert locations.in_pixels(box, loaded.tokenizer, None) == box
    both = locations.in_pixels(box + box, loaded.tokenizer, None)
    assert loaded.tokenizer.decode(both) == "<box>2, 4, 6, 8</box> <box>2, 4, 6, 8</box>"


def test_words_between_marks_are_no_location(loaded: fl.LoadedModel) -> None:
    locations = Locations(REAL)
    for inner in (["▁the", "▁is"], ["1", "<0x03>"], ["1"], ["1", "2", "4"]):
        given = list(ids(loaded, "▁is", "<0x02>", *inner, "<0x03>"))
        assert locations.in_pixels(given, loaded.tokenizer, None) == given


@pytest.mark.parametrize(
    ("size", "step", "pixel"), [((1920, 1200), 9, 18), ((1930, 1840), 27, 92), ((100, 100), 9, 18), (None, 9, 18)]
)
def test_pixels_are_computed_in_float32(
    loaded: fl.LoadedModel, size: tuple[int, int] | None, step: int, pixel: int
) -> None:
    """In float64 the first two would be 20 and 90."""
    given = ids(loaded, "▁is", "<0x02>", str(step), str(step), "<0x03>")
    found = Locations(REAL).in_pixels(given, loaded.tokenizer, size)
    assert loaded.tokenizer.decode(found) == f"is <point>{pixel}, {pixel}</point>"


def test_a_picture_is_reduced_to_whole_pixels_and_never_enlarged() -> None:
    assert REAL.inner((1920, 1080)) == (1920, 1080)
    assert REAL.inner((5, 7)) == (5, 7)
    assert REAL.inner((2500, 900)) == (1920, 691)
    assert REAL.tokens((1920, 1080)) == 36 * 64
    assert REAL.tokens((1, 1)) == 1


def test_patches_hold_their_pixels_in_rows_with_the_colours_last(loaded: fl.LoadedModel) -> None:
    shown = picture(7, 6)
    pixels = np.asarray(shown.load()) / 127.5 - 1
    first, second = loaded.pipeline(shown.load()).reshape(2, 6, 6, 3)
    np.testing.assert_allclose(first, pixels[:, :6], atol=1e-6)
    np.testing.assert_allclose(second[:, :1], pixels[:, 6:], atol=1e-6)
    np.testing.assert_allclose(second[:, 1:], 1 / 127.5 - 1, atol=1e-6)  # one of 255: nearly black


def test_a_picture_of_which_nothing_would_be_left_fails_its_request_alone(loaded: fl.LoadedModel) -> None:
    with pytest.raises(BadImage, match="3000 x 1 pixels are too narrow"):
        REAL.inner((3000, 1))
    narrow = fl.Prompt.ask(picture(200, 1), "What is it?")
    usual = fl.Prompt.ask(picture(20, 20), "What is it?")
    answers = {a.id: a for a in loaded.answers([fl.Request("narrow", narrow), fl.Request("usual", usual)])}
    error = answers["narrow"].error
    assert error is not None
    assert error.kind == "BadImage"
    assert error.message.startswith("picture in memory: 200 x 1 pixels are too narrow")
    assert answers["usual"].error is None


def test_settings_come_from_text_config_then_the_top_level_then_the_published_model() -> None:
    config = {"model_type": "fuyu", "rope_theta": 5.0, "vocab_size": 7, "text_config": {"vocab_size": 9}}
    decoder = FAMILY.architecture(Folder(Path("none"), config=config)).decoder
    assert decoder.vocab == 9
    assert decoder.place == Rotary(5.0, 0.5)
    assert decoder.layers == 36
    bare = FAMILY.architecture(Folder(Path("none"), config={"model_type": "fuyu", "text_config": None})).decoder
    assert bare.place == Rotary(25_000.0, 0.5)


@pytest.mark.parametrize(
    ("file", "settings", "message"),
    [
        ("preprocessor_config.json", {"patch_size": {"height": 7, "width": 7}}, "patch_size is .*; only .* is known"),
        ("preprocessor_config.json", {"do_normalize": False}, "do_normalize is False; only True is known"),
        ("preprocessor_config.json", {"image_mean": [0.5]}, "image_mean is .*; three numbers"),
        ("preprocessor_config.json", {"size": {"height": 25, "width": 36}}, "no whole number of patches of 6"),
        (
            "config.json",
            {"rope_scaling": {"type": "dynamic", "factor": 2.0}},
            "rotary positions by 'dynamic' is not known",
        ),
        ("config.json", {"hidden_act": "swish9"}, "activation 'swish9' is none of"),
    ],
)
def test_settings_that_the_core_does_not_follow_are_refused(
    folder: Path, tmp_path: Path, file: str, settings: dict[str, Any], message: str
) -> None:
    for source in folder.iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    held = json.loads((tmp_path / file).read_text())
    (tmp_path / file).write_text(json.dumps(held | settings))
    with pytest.raises(BadConfig, match=message):
        fl.load(tmp_path)
