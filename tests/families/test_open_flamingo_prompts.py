"""Prompts token by token, what an answer may hold, and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as pil

import flamingo_lab as fl
from flamingo_lab.engine import reference
from flamingo_lab.engine.plan import job
from flamingo_lab.errors import BadPrompt
from flamingo_lab.markup import NONE
from flamingo_lab.prompt import CAPTION
from tests.families.test_idefics_against_transformers import parts, picture
from tests.families.tiny_open_flamingo import VOCAB, Written, write_checkpoint

CHUNK_END, IMAGE = VOCAB - 3, VOCAB - 2


@pytest.fixture(scope="module")
def mpt(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_checkpoint(tmp_path_factory.mktemp("mpt"), "mpt", seed=7)


@pytest.fixture(scope="module")
def model(mpt: Written) -> fl.LoadedModel:
    return mpt.load()


def spelt(model: fl.LoadedModel, rendered: Any) -> list[str]:
    """The text of each id, marks and all."""
    names = {CHUNK_END: "<|endofchunk|>", IMAGE: "<image>"}
    return [names.get(token) or model.tokenizer.decode([token]) for token in rendered.ids]


def test_questions_are_put_in_the_authors_words(model: fl.LoadedModel) -> None:
    shots = [fl.Shot(picture(1), "is it a cat?", answer="yes"), fl.Shot(picture(2), "how many?", answer="no")]
    rendered = model.renderer.render(fl.Prompt.ask(picture(3), "is it on?", shots=shots))
    assert rendered.text == (
        "<image>Question:is it a cat? Short answer:yes<|endofchunk|>\n"
        "<image>Question:how many? Short answer:no<|endofchunk|>\n"
        "<image>Question:is it on? Short answer:"
    )
    assert "".join(spelt(model, rendered)) == rendered.text
    assert rendered.ids[0] == IMAGE
    assert rendered.ids.count(IMAGE) == 3
    assert rendered.ids.count(CHUNK_END) == 2


def test_captions_are_asked_for_in_the_authors_words(model: fl.LoadedModel) -> None:
    shots = [fl.Shot(picture(1), answer="a cat on a mat")]
    rendered = model.renderer.render(fl.Prompt.ask(picture(3), shots=shots, running=CAPTION))
    assert rendered.text == "<image>Output:a cat on a mat<|endofchunk|>\n<image>Output:"


def test_shots_without_pictures_stand_before_the_only_one(model: fl.LoadedModel) -> None:
    shots = [fl.Shot("", answer="a cat"), fl.Shot("", answer="two dogs")]
    rendered = model.renderer.render(fl.Prompt.ask(picture(3), shots=shots, running=CAPTION))
    assert rendered.text == "Output:a cat<|endofchunk|>\nOutput:two dogs<|endofchunk|>\n<image>Output:"
    first = rendered.ids.index(IMAGE)
    assert rendered.sees == (NONE,) * first + (0,) * (len(rendered.ids) - first)


def test_each_token_sees_the_last_picture_before_it(model: fl.LoadedModel) -> None:
    rendered = model.renderer.render(fl.Prompt.raw("th", picture(1), picture(2), "th", picture(3), "th"))
    assert spelt(model, rendered) == ["th", "<image>", "<image>", "th", "<image>", "th"]
    assert rendered.sees == (NONE, 0, 1, 1, 2, 2)


def test_an_end_of_chunk_hides_no_picture(model: fl.LoadedModel) -> None:
    rendered = model.renderer.render(fl.Prompt.raw(picture(1), "th<|endofchunk|>\n", "th"))
    assert rendered.sees == (0,) * len(rendered.ids)


def test_a_mark_in_the_text_is_refused(model: fl.LoadedModel) -> None:
    with pytest.raises(BadPrompt, match="<image>"):
        model.renderer.render(fl.Prompt.raw(picture(1), "what is <image>?"))


def test_options_follow_the_prompt_without_a_blank(model: fl.LoadedModel) -> None:
    prompt = fl.Prompt.ask(picture(3), "is it on?")
    rendered = model.renderer.render(prompt, "yes")
    assert rendered.text.endswith("Short answer:yes")
    ready = job(model, fl.Request("x", prompt, fl.Rank(("yes", "no"))))
    assert [model.tokenizer.decode(option.ids) for option in ready.options] == ["yes", "no"]


def test_the_end_of_a_chunk_stops_an_answer_and_the_end_of_a_text_does_not(model: fl.LoadedModel) -> None:
    assert model.stop_ids == {CHUNK_END}
    assert model.tokenizer.id_of("<|endoftext|>") == 0


def test_a_picture_is_never_said(mpt: Written, tmp_path: Path) -> None:
    """Where the model would, the next best token comes."""
    other = mpt.copied(tmp_path / "other")
    held = dict(other.held)
    table = held["lang_encoder.transformer.wte.weight"].clone()
    loaded = other.load()
    ready = job(loaded, fl.Request("x", fl.Prompt.raw(*parts("it", 5))))
    with torch.no_grad():
        answer = loaded.generate(fl.Prompt.raw(*parts("it", 5)), max_new_tokens=1)
        table[IMAGE] = table[answer.token_ids[0]] * 1.5
    assert IMAGE in ready.ids
    other.save(held | {"lang_encoder.transformer.wte.weight": table})
    found = other.load()
    pictures = reference.picture_tokens(found, ready)
    assert int(reference.logits(found, ready.sequence, pictures)[-1].argmax()) == IMAGE
    for decoding in (fl.Greedy(), fl.Beam(3)):
        assert IMAGE not in found.generate(fl.Prompt.raw(*parts("it", 5)), decoding, max_new_tokens=6).token_ids


def test_pictures_with_palettes_are_resized_before_they_become_rgb(model: fl.LoadedModel) -> None:
    """Unblended: every pixel of a two-coloured palette picture keeps one of its colours."""
    drawn = pil.new("P", (31, 17))
    drawn.putpalette([255, 0, 0, 0, 0, 255])
    drawn.paste(1, (9, 3, 20, 15))
    found = model.pipeline(drawn)[0]
    assert found.shape == (3, 12, 12)
    assert len(np.unique(found.reshape(3, -1), axis=1).T) == 2
    assert len(np.unique(model.pipeline(drawn.convert("RGB"))[0].reshape(3, -1), axis=1).T) > 2


def test_an_odd_rest_is_cut_as_torchvision_rounds_it(model: fl.LoadedModel) -> None:
    """Three columns too many: two go from the left, where a plain halving takes one."""
    stripes = pil.fromarray(np.tile(np.arange(15, dtype=np.uint8)[None, :, None] * 10, (12, 1, 3)))
    expected = model.pipeline(stripes.crop((2, 0, 14, 12)))
    assert np.array_equal(model.pipeline(stripes), expected)


@pytest.mark.parametrize(("settings", "text"), [({}, "a cat."), ({"clean_up_tokenization_spaces": False}, "a cat .")])
def test_answers_lose_blanks_before_punctuation_unless_the_folder_says_no(
    mpt: Written, settings: dict[str, bool], text: str, tmp_path: Path
) -> None:
    other = mpt.copied(tmp_path / "other")
    (other.folder / "language_model" / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = other.load().tokenizer
    assert tokenizer.decode(tokenizer.encode("a cat .")) == text
